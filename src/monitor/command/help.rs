//! `help`.

use alloc::format;
use alloc::string::String;

use super::{COMMANDS, Command, Failure, Outcome, find};
use crate::monitor::editor::COLUMNS as SCREEN;
use crate::monitor::report::{Column, Report, Table, Value};
use crate::vm::operator::Operator;

const COLUMNS: &[Column; 2] = &[Column::new("usage", "COMMAND"), Column::new("help", "WHAT IT DOES")];

pub fn help(_: &dyn Operator, words: &[&str]) -> Result<Outcome, Failure> {
    let report = match words.first() {
        Some(word) => about(find(word)?),
        None => overview(),
    };
    Ok(Outcome::Report(report))
}

fn overview() -> Report {
    let row = |command: &Command| [Value::text(command.usage()), Value::text(command.help)];
    let table = Table::new(COLUMNS, COMMANDS.iter().map(row));
    Report::Sections(alloc::vec![
        ("commands", Report::Table(table)),
        ("more", Report::Note("help help tells about abbreviations, keys and --json.".into())),
    ])
}

fn about(command: &Command) -> Report {
    let mut text = format!("{}: {}\n", command.usage(), command.help);
    if !command.more.is_empty() {
        text.push('\n');
    }
    command.more.lines().for_each(|paragraph| fill(&mut text, paragraph));
    Report::Text(text)
}

/// Appends `paragraph` in lines that fit the screen.
fn fill(text: &mut String, paragraph: &str) {
    let mut column = 0;
    for word in paragraph.split(' ') {
        if column > 0 && column + 1 + word.len() > SCREEN {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
}
