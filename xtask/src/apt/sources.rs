//! APT's package sources: reading the machine's own, and deriving others from them by a change of suite.
//!
//! The formats are those of `sources.list(5)`: deb822 stanzas (`*.sources`) and one-line entries (`*.list`).

use std::{fmt, fs, path::Path};

use anyhow::{Context, Result};

/// One deb822 stanza: fields in their order, values with their continuation lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    fields: Vec<(String, String)>,
}

impl Source {
    /// The words of a field; none if the field is missing.
    fn words(&self, name: &str) -> impl Iterator<Item = &str> {
        let value = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        value.into_iter().flat_map(|(_, value)| value.split_whitespace())
    }

    fn set(&mut self, name: &str, value: String) {
        self.fields.retain(|(field, _)| !field.eq_ignore_ascii_case(name));
        self.fields.push((name.to_owned(), value));
    }

    fn is_enabled(&self) -> bool {
        !self.words("Enabled").any(|word| word.eq_ignore_ascii_case("no"))
    }

    /// Whether the source offers binary packages of `suite`'s component `main`.
    pub fn serves(&self, suite: &str) -> bool {
        self.is_enabled()
            && self.words("Types").any(|word| word == "deb")
            && self.words("Suites").any(|word| word == suite)
            && self.words("Components").any(|word| word == "main")
    }

    /// The same archive, with the same keys, but other suites, components and architectures.
    pub fn derive(&self, suites: &[&str], components: &[&str], architectures: &[&str]) -> Self {
        let mut derived = self.clone();
        derived.set("Types", "deb".to_owned());
        derived.set("Suites", suites.join(" "));
        derived.set("Components", components.join(" "));
        derived.set("Architectures", architectures.join(" "));
        // Neither translations nor the software centre's metadata are of use here.
        derived.set("Targets", "Packages".to_owned());
        derived
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields.iter().try_for_each(|(name, value)| writeln!(f, "{name}: {value}"))
    }
}

/// The stanzas of a deb822 file.
pub fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut source = Source::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            sources.push(std::mem::take(&mut source));
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = source.fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            source.fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    sources.push(source);
    sources.retain(|source| !source.fields.is_empty());
    sources
}

/// The entries of a one-line file, as stanzas.
pub fn parse_one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let (kind, mut rest) = line.split_once(char::is_whitespace)?;
    let mut source = Source::default();
    source.set("Types", kind.to_owned());
    if let Some((options, after)) = rest.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']'))
    {
        rest = after;
        for (name, value) in options.split_whitespace().filter_map(|option| option.split_once('=')) {
            // The one-line options that matter to a derived source; `arch` is replaced anyway.
            match name {
                "signed-by" => source.set("Signed-By", value.to_owned()),
                "trusted" => source.set("Trusted", value.to_owned()),
                "check-valid-until" => source.set("Check-Valid-Until", value.to_owned()),
                _ => {}
            }
        }
    }
    let mut words = rest.split_whitespace();
    source.set("URIs", words.next()?.to_owned());
    source.set("Suites", words.next()?.to_owned());
    source.set("Components", words.collect::<Vec<_>>().join(" "));
    Some(source)
}

/// All sources of the APT configuration in `etc` (`/etc/apt`).
pub fn read(etc: &Path) -> Result<Vec<Source>> {
    let mut files = vec![etc.join("sources.list")];
    let parts = etc.join("sources.list.d");
    if parts.is_dir() {
        for entry in fs::read_dir(&parts).with_context(|| format!("cannot read {}", parts.display()))? {
            files.push(entry?.path());
        }
    }
    files.sort();
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let parse = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => parse_one_line,
            Some("sources") => parse_deb822,
            _ => continue,
        };
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        sources.extend(parse(&text));
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 AAAA

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://other.example/
Suites: bookworm
Components: main
";

    #[test]
    fn a_suite_is_renamed_and_the_key_kept() {
        let sources = parse_deb822(DEB822);
        let serving: Vec<_> = sources.iter().filter(|source| source.serves("bookworm")).collect();
        assert_eq!(
            serving.len(),
            1,
            "the security archive and the disabled one do not serve the release itself"
        );
        let derived = serving[0].derive(&["bookworm-backports", "trixie"], &["main"], &["arm64"]).to_string();
        assert_eq!(
            derived,
            "URIs: http://mirror.example/debian\n\
             Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n AAAA\n\
             Types: deb\nSuites: bookworm-backports trixie\nComponents: main\nArchitectures: arm64\n\
             Targets: Packages\n"
        );
        assert!(parse_deb822(&derived)[0].serves("trixie"));
    }

    #[test]
    fn one_line_entries_become_stanzas() {
        let sources = parse_one_line(
            "# deb http://no.example/ bookworm main\n\
             deb [arch=amd64 signed-by=/usr/share/k.gpg] http://mirror.example/debian bookworm main x\n\
             deb-src http://mirror.example/debian bookworm main\n",
        );
        assert_eq!(sources.len(), 2);
        assert!(sources[0].serves("bookworm") && !sources[1].serves("bookworm"));
        let derived = sources[0].derive(&["trixie"], &["main"], &["arm64"]).to_string();
        assert!(derived.contains("URIs: http://mirror.example/debian\n"), "{derived}");
        assert!(derived.contains("Signed-By: /usr/share/k.gpg\n"), "{derived}");
        assert!(!derived.contains("amd64") && !derived.contains("main x"), "{derived}");
    }
}
