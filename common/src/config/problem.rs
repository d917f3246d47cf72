//! What is wrong with a configuration file, said so that a person finds the place and the remedy.

use std::fmt;

/// A place in a file; line and column count from 1, 0 means unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One error in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Name of the file as the user knows it.
    pub file: String,
    /// Where it is.
    pub place: Place,
    /// What is wrong, one sentence.
    pub message: String,
    /// What would help, when known.
    pub help: Option<String>,
    /// The line of the file, for the snippet.
    line_text: String,
}

impl Problem {
    /// A problem at `place` of `file`, whose whole content is `text`.
    pub fn new(file: &str, text: &str, place: Place, message: String, help: Option<String>) -> Self {
        let line_text =
            place.line.checked_sub(1).and_then(|n| text.lines().nth(n)).unwrap_or_default().to_owned();
        Problem { file: file.to_owned(), place, message, help, line_text }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        if line == 0 {
            write!(f, "{}: {}", self.file, self.message)?;
        } else {
            writeln!(f, "{}:{line}:{column}: {}", self.file, self.message)?;
            writeln!(f, "{line:>5} | {}", self.line_text)?;
            let caret = "^".repeat(word_length(&self.line_text, column));
            write!(f, "      | {}{caret}", " ".repeat(column.saturating_sub(1)))?;
        }
        match &self.help {
            Some(help) => write!(f, "\n      = {help}"),
            None => Ok(()),
        }
    }
}

/// Length of the word at `column`, so that the caret line underlines it whole.
fn word_length(line: &str, column: usize) -> usize {
    line.chars()
        .skip(column.saturating_sub(1))
        .take_while(|c| c.is_alphanumeric() || "-_./".contains(*c))
        .count()
        .max(1)
}

/// All errors of a configuration; never empty.
#[derive(Debug, Clone)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        match self.0.len() {
            1 => write!(f, "1 error; nothing was touched"),
            n => write!(f, "{n} errors; nothing was touched"),
        }
    }
}

impl std::error::Error for Problems {}

/// "did you mean `x`?" for the known name nearest to `wrong`, when one is near enough.
pub fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= (wrong.len().max(name.len()) / 3).max(1))
        .min()
        .map(|(_, name)| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_file_place_line_and_help() {
        let place = Place { line: 2, column: 5 };
        let problem = Problem::new(
            "a.yaml",
            "x:\n    dependson: 1\n",
            place,
            "unknown key `dependson`".into(),
            did_you_mean("dependson", ["ready", "depends_on"]),
        );
        assert_eq!(
            problem.to_string(),
            "a.yaml:2:5: unknown key `dependson`\n    2 |     dependson: 1\n      |     ^^^^^^^^^\n      = did you mean `depends_on`?"
        );
    }

    #[test]
    fn far_names_are_not_suggested() {
        assert_eq!(did_you_mean("horizon", ["keystone", "nova"]), None);
    }
}
