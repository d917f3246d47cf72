//! Reads files in oslo.config's notation and remembers where every value stands.
//!
//! Own code because the INI crates differ from oslo.config where operators notice it: a backslash in a password, an
//! indented comment, a line without `=` — and none tells the line of a value, which our errors must.
//! Mirrors `oslo_config/iniparser.py`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    file: Arc<str>,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A value as it is written, before substitution.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) text: String,
    pub(super) place: Place,
}

/// The values of all files; later files, and later lines of one file, win.
#[derive(Debug, Default)]
pub(super) struct Ini {
    entries: BTreeMap<(String, String), Entry>,
}

impl Ini {
    /// Adds the contents of a file; lines that cannot be understood are told in `problems`.
    pub(super) fn add(&mut self, path: &Path, text: &str, problems: &mut Vec<String>) {
        let file: Arc<str> = path.display().to_string().into();
        let mut section: Option<String> = None;
        // The option that an indented line would continue.
        let mut open: Option<(String, String)> = None;
        for (index, raw) in text.lines().enumerate() {
            let line = raw.trim_end();
            let place = Place { file: file.clone(), line: index + 1 };
            match classify(line) {
                Line::Blank => open = None,
                Line::Comment => {}
                Line::Section(name) => {
                    section = Some(normalize(name));
                    open = None;
                }
                Line::Continuation(more) => match open.as_ref().and_then(|key| self.entries.get_mut(key)) {
                    Some(entry) => {
                        entry.text.push('\n');
                        entry.text.push_str(more);
                    }
                    None => problems.push(format!("{place}: this indented line continues nothing")),
                },
                Line::Assignment(name, value) => match &section {
                    Some(section) => {
                        let key = (section.clone(), name.to_owned());
                        self.entries.insert(key.clone(), Entry { text: unquote(value).to_owned(), place });
                        open = Some(key);
                    }
                    None => problems.push(format!("{place}: {name} stands before any [section]")),
                },
                Line::Garbage => {
                    problems
                        .push(format!("{place}: expected \"name = value\", \"[section]\" or a # comment"));
                    open = None;
                }
            }
        }
    }

    /// The value of an option as it is written.
    pub(super) fn get(&self, section: &str, name: &str) -> Option<&Entry> {
        self.entries.get(&(section.to_owned(), name.to_owned()))
    }

    /// All options that are set: section, name, place.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str, &Place)> {
        self.entries.iter().map(|((section, name), entry)| (section.as_str(), name.as_str(), &entry.place))
    }

    /// Replaces `$name`, `${name}` and `${section.name}` by the values of these options; `$$` and `\$` are a dollar.
    ///
    /// # Errors
    /// A sentence when an option is not set or refers to itself.
    pub(super) fn substitute(&self, section: &str, text: &str) -> Result<String, String> {
        self.substitute_at(section, text, 0)
    }

    fn substitute_at(&self, section: &str, text: &str, depth: usize) -> Result<String, String> {
        if depth > 10 {
            return Err(format!("{text} refers to itself"));
        }
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, after) = (&rest[..at], &rest[at + 1..]);
            if let Some(before) = before.strip_suffix('\\') {
                result.push_str(before);
                result.push('$');
                rest = after;
                continue;
            }
            result.push_str(before);
            let (reference, length) = match reference(after) {
                Some(found) => found,
                None => {
                    result.push('$');
                    rest = after.strip_prefix('$').unwrap_or(after);
                    continue;
                }
            };
            let (value_section, entry) = self.lookup(section, reference)?;
            result.push_str(&self.substitute_at(value_section, &entry.text, depth + 1)?);
            rest = &after[length..];
        }
        result.push_str(rest);
        Ok(result)
    }

    fn lookup<'a>(&'a self, section: &'a str, reference: &'a str) -> Result<(&'a str, &'a Entry), String> {
        let candidates = match reference.split_once('.') {
            Some((other, name)) => vec![(other, name)],
            None => vec![(section, reference), ("DEFAULT", reference)],
        };
        candidates
            .into_iter()
            .find_map(|(section, name)| Some((section, self.get(section, name)?)))
            .ok_or_else(|| format!("${reference} refers to an option that is not set"))
    }
}

enum Line<'a> {
    Blank,
    Comment,
    Section(&'a str),
    Continuation(&'a str),
    Assignment(&'a str, &'a str),
    Garbage,
}

fn classify(line: &str) -> Line<'_> {
    let content = line.trim_start();
    if content.is_empty() {
        return Line::Blank;
    }
    if content.starts_with(['#', ';']) {
        return Line::Comment;
    }
    if content.len() < line.len() {
        return Line::Continuation(content);
    }
    if let Some(rest) = line.strip_prefix('[') {
        return match rest.strip_suffix(']') {
            Some(name) if !name.trim().is_empty() => Line::Section(name.trim()),
            _ => Line::Garbage,
        };
    }
    match line.split_once(['=', ':']) {
        Some((name, value)) if !name.trim().is_empty() => Line::Assignment(name.trim(), value.trim()),
        _ => Line::Garbage,
    }
}

/// oslo.config reads section names without regard to case.
fn normalize(section: &str) -> String {
    if section.eq_ignore_ascii_case("default") { "DEFAULT".into() } else { section.to_ascii_lowercase() }
}

/// Takes away one pair of quotes around the whole value.
fn unquote(value: &str) -> &str {
    ['"', '\''].iter().find_map(|&quote| value.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(value)
}

/// The name after a dollar, and how many bytes it takes.
fn reference(after: &str) -> Option<(&str, usize)> {
    let is_name = |name: &str| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if let Some(rest) = after.strip_prefix('{') {
        let (name, _) = rest.split_once('}')?;
        return is_name(name).then_some((name, name.len() + 2));
    }
    let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
    is_name(&after[..end]).then_some((&after[..end], end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Ini, Vec<String>) {
        let (mut ini, mut problems) = (Ini::default(), Vec::new());
        ini.add(Path::new("nova.conf"), text, &mut problems);
        (ini, problems)
    }

    fn value(text: &str) -> String {
        let (ini, problems) = read(&format!("[DEFAULT]\n{text}\n"));
        assert_eq!(problems, [""; 0]);
        let entry = ini.get("DEFAULT", "x").unwrap().text.clone();
        ini.substitute("DEFAULT", &entry).unwrap()
    }

    #[test]
    fn values_are_read_as_oslo_config_reads_them() {
        for (text, expected) in [
            ("x = 1", "1"),
            ("x: 1", "1"),
            ("x=a = b : c", "a = b : c"),
            ("x = \"quoted \"", "quoted "),
            ("x = 'it''s'", "it''s"),
            ("x = \"half", "\"half"),
            (r"x = back\slash", r"back\slash"),
            ("x = a # no comment", "a # no comment"),
            ("x = 1\nx = 2", "2"),
            ("x = a,\n  b\n  # comment\n  c", "a,\nb\nc"),
            ("x =", ""),
            ("y = /var\nx = $y/lib", "/var/lib"),
            ("y = /var\nx = ${y}lib", "/varlib"),
            ("x = pa$$word", "pa$word"),
            (r"x = pa\$word", "pa$word"),
            ("x = 5$", "5$"),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn sections_ignore_case_and_later_files_win() {
        let (mut ini, mut problems) = read("[default]\nx = 1\n[Docker]\ny = 2\n");
        ini.add(Path::new("two"), "\n[DEFAULT]\nx = 3\n", &mut problems);
        assert_eq!(ini.get("DEFAULT", "x").unwrap().text, "3");
        assert_eq!(ini.get("DEFAULT", "x").unwrap().place.to_string(), "two:3");
        assert_eq!(ini.get("docker", "y").unwrap().place.to_string(), "nova.conf:4");
    }

    #[test]
    fn every_bad_line_is_told() {
        let (_, problems) = read("x = 1\n  y\n[DEFAULT]\nwords only\n[open\n= 3\n");
        assert_eq!(
            problems,
            [
                "nova.conf:1: x stands before any [section]",
                "nova.conf:2: this indented line continues nothing",
                "nova.conf:4: expected \"name = value\", \"[section]\" or a # comment",
                "nova.conf:5: expected \"name = value\", \"[section]\" or a # comment",
                "nova.conf:6: expected \"name = value\", \"[section]\" or a # comment",
            ]
        );
    }

    #[test]
    fn references_to_nothing_and_to_themselves_are_told() {
        let (ini, _) = read("[DEFAULT]\nx = $x\n[a]\ny = ${b.z}\n[b]\nz = 1\n");
        assert!(ini.substitute("DEFAULT", "$x").unwrap_err().contains("refers to itself"));
        assert!(ini.substitute("DEFAULT", "$nothing").unwrap_err().contains("not set"));
        assert_eq!(ini.substitute("a", "$y").unwrap(), "1");
    }
}
