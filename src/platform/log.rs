//! The `log` crate's way to the console: `[seconds.microseconds] LEVEL message`.

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::console::Line;
use crate::arch::aarch64::timer;

struct ConsoleLog;

impl Log for ConsoleLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // It takes note at `info` of each packet that it does not know, and every gdb sends some.
        !metadata.target().starts_with("gdbstub") || log::max_level() >= LevelFilter::Debug
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = timer::microseconds_since_boot();
        let level = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info => "",
            Level::Debug => "debug: ",
            Level::Trace => "trace: ",
        };
        Line::print(format_args!(
            "[{:5}.{:06}] polyvisor: {level}{}",
            now / 1_000_000,
            now % 1_000_000,
            record.args()
        ));
    }

    fn flush(&self) {}
}

/// Starts logging, at the level that `log=error|warn|info|debug|trace|off` among `bootargs` asks for (`info`
/// without it).
pub fn start(bootargs: &str) {
    let wanted = bootargs.split_ascii_whitespace().find_map(|word| word.strip_prefix("log="));
    let level = wanted.map(str::parse::<LevelFilter>);
    // Only a second call could fail, and there is none.
    let _ = log::set_logger(&ConsoleLog);
    log::set_max_level(match level {
        Some(Ok(level)) => level,
        _ => LevelFilter::Info,
    });
    if let (Some(word), Some(Err(_))) = (wanted, level) {
        log::warn!("log={word} is not a level: expected off, error, warn, info, debug or trace");
    }
}
