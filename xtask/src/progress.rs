//! Telling the user what takes so long: a spinner on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// A job under way; dropped without [`Progress::done`], it leaves no line on a terminal.
pub struct Progress {
    bar: Option<ProgressBar>,
    job: String,
    started: Instant,
}

impl Progress {
    /// Says that `job` begins.
    pub fn start(job: impl Into<String>) -> Self {
        let job = job.into();
        let bar = if stderr().is_terminal() {
            let bar = ProgressBar::new_spinner().with_message(job.clone());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            Some(bar)
        } else {
            eprintln!("xtask: {job} ...");
            None
        };
        Self { bar, job, started: Instant::now() }
    }

    /// Says that the job has ended well.
    pub fn done(mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            eprintln!("xtask: {} ({:.1} s)", self.job, self.started.elapsed().as_secs_f32());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// One line about what was found or done.
pub fn note(text: impl AsRef<str>) {
    eprintln!("xtask: {}", text.as_ref());
}
