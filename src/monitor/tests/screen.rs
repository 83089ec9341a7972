//! A terminal of 80 columns that understands as much of a VT100 as the monitor uses, and nothing else.

const COLUMNS: usize = 80;

/// Rows are kept for ever: what a person could scroll back to.
#[derive(Default)]
pub struct Screen {
    rows: Vec<String>,
    row: usize,
    /// 80: the next character wraps.
    column: usize,
    escape: String,
    pub bells: usize,
    /// The colour that characters would have.
    pub style: String,
    /// Characters that had a colour.
    pub coloured: String,
    /// Every byte ever shown.
    pub bytes: Vec<u8>,
}

impl Screen {
    /// Shows a byte.
    ///
    /// # Panics
    /// On what the monitor must not send.
    pub fn put(&mut self, byte: u8) {
        self.bytes.push(byte);
        if !self.escape.is_empty() {
            self.escape.push(byte.into());
            if byte != b'[' && (0x40..=0x7e).contains(&byte) {
                let sequence = std::mem::take(&mut self.escape);
                self.control(&sequence);
            }
            return;
        }
        match byte {
            0x1b => self.escape.push(byte.into()),
            0x07 => self.bells += 1,
            0x08 => self.column = self.column.min(COLUMNS - 1).saturating_sub(1),
            b'\r' => self.column = 0,
            b'\n' => self.row += 1,
            0x20..=0x7e | 0x80.. => self.character(byte.into()),
            _ => panic!("the monitor sends {byte:#x}"),
        }
    }

    fn character(&mut self, character: char) {
        if self.column == COLUMNS {
            self.column = 0;
            self.row += 1;
        }
        let column = self.column;
        let row = self.current();
        let mut cells: Vec<char> = row.chars().collect();
        cells.resize(cells.len().max(column + 1), ' ');
        cells[column] = character;
        *row = cells.into_iter().collect();
        self.column += 1;
        if !self.style.is_empty() {
            self.coloured.push(character);
        }
    }

    fn current(&mut self) -> &mut String {
        self.rows.resize(self.rows.len().max(self.row + 1), String::new());
        &mut self.rows[self.row]
    }

    fn control(&mut self, sequence: &str) {
        let parameters = sequence.strip_prefix("\x1b[").unwrap();
        let (parameters, last) = parameters.split_at(parameters.len() - 1);
        match (last, parameters) {
            ("K", "") => {
                let column = self.column;
                let row = self.current();
                *row = row.chars().take(column).collect();
            }
            ("D", count) => self.column = self.column.min(COLUMNS - 1) - count.parse::<usize>().unwrap(),
            ("m", "0") => self.style.clear(),
            ("m", style) => self.style = style.to_owned(),
            // What was shown before stays among the rows: a page further down.
            ("H", "") => (self.row, self.column) = (self.rows.len(), 0),
            ("J", "") => {}
            _ => panic!("the monitor sends {sequence:?}"),
        }
    }

    /// All rows down to the cursor, without spaces at their ends.
    pub fn lines(&self) -> Vec<String> {
        (0..=self.row).map(|row| self.rows.get(row).map_or("", |row| row.trim_end()).to_owned()).collect()
    }

    /// The column of the cursor.
    pub fn column(&self) -> usize {
        self.column
    }
}
