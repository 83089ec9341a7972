//! A reader of JSON (RFC 8259), to check what the monitor writes.

/// All strings and numbers of a text, in order, if it is JSON; else what is left where it is not.
pub fn parse(text: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let rest = value(text, &mut found)?;
    if rest.is_empty() { Ok(found) } else { Err(rest.to_owned()) }
}

fn value<'t>(text: &'t str, found: &mut Vec<String>) -> Result<&'t str, String> {
    if let Some(rest) = text.strip_prefix('{') {
        return members(rest, '}', |text| {
            let mut key = Vec::new();
            let rest = string(text.strip_prefix('"').ok_or(text)?, &mut key)?;
            value(rest.strip_prefix(':').ok_or(rest)?, found)
        });
    }
    if let Some(rest) = text.strip_prefix('[') {
        return members(rest, ']', |text| value(text, found));
    }
    if let Some(rest) = text.strip_prefix('"') {
        return string(rest, found);
    }
    if let Some(rest) = ["null", "true", "false"].iter().find_map(|word| text.strip_prefix(word)) {
        return Ok(rest);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    number.parse::<f64>().map_err(|_| text.to_owned())?;
    found.push(number.to_owned());
    Ok(rest)
}

fn members<'t>(
    text: &'t str,
    end: char,
    mut member: impl FnMut(&'t str) -> Result<&'t str, String>,
) -> Result<&'t str, String> {
    if let Some(rest) = text.strip_prefix(end) {
        return Ok(rest);
    }
    let mut rest = member(text)?;
    while let Some(next) = rest.strip_prefix(',') {
        rest = member(next)?;
    }
    rest.strip_prefix(end).ok_or_else(|| rest.to_owned())
}

fn string<'t>(text: &'t str, found: &mut Vec<String>) -> Result<&'t str, String> {
    let mut string = String::new();
    let mut rest = text.chars();
    loop {
        let place = rest.as_str().to_owned();
        match rest.next().ok_or("the end")? {
            '"' => break,
            '\\' => match rest.next().ok_or("the end")? {
                'n' => string.push('\n'),
                'u' => {
                    let digits: String = rest.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&digits, 16).map_err(|_| place)?;
                    string.push(char::from_u32(code).ok_or("a surrogate")?);
                }
                character @ ('"' | '\\') => string.push(character),
                _ => return Err(place),
            },
            character if character < ' ' => return Err(place),
            character => string.push(character),
        }
    }
    found.push(string);
    Ok(rest.as_str())
}
