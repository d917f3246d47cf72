//! Typed reading of options. Every option that is asked for becomes known, with its default: unknown ones are found that
//! way, and a test compares what is known with the sample file.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::ini::Ini;

/// An option that the agent knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// As it would be written; empty when there is none.
    pub(super) default: String,
}

/// Reads options and collects what is wrong with them.
#[derive(Debug)]
pub(super) struct Options<'a> {
    ini: &'a Ini,
    problems: Vec<String>,
    known: Vec<Known>,
}

impl<'a> Options<'a> {
    pub(super) fn new(ini: &'a Ini) -> Self {
        Self { ini, problems: Vec::new(), known: Vec::new() }
    }

    /// A text; None when it is not set or empty.
    pub(super) fn optional(&mut self, section: &'static str, name: &'static str) -> Option<String> {
        self.raw(section, name, "")
    }

    /// A text with a default.
    pub(super) fn text(&mut self, section: &'static str, name: &'static str, default: &str) -> String {
        self.raw(section, name, default).unwrap_or_else(|| default.to_owned())
    }

    /// A text that must be set; `why` continues the sentence "… is not set: ".
    pub(super) fn required(&mut self, section: &'static str, name: &'static str, why: &str) -> String {
        self.optional(section, name).unwrap_or_else(|| {
            self.problems.push(format!("[{section}] {name} is not set: {why}"));
            String::new()
        })
    }

    /// A number within `range`.
    pub(super) fn number<T>(
        &mut self,
        section: &'static str,
        name: &'static str,
        default: T,
        range: RangeInclusive<T>,
    ) -> T
    where
        T: FromStr + Display + PartialOrd + Copy,
    {
        let text = self.raw(section, name, &default.to_string());
        text.and_then(|text| self.parse(section, name, &text, &range)).unwrap_or(default)
    }

    /// A number within `range`; None when it is not set.
    pub(super) fn optional_number<T>(
        &mut self,
        section: &'static str,
        name: &'static str,
        range: RangeInclusive<T>,
    ) -> Option<T>
    where
        T: FromStr + Display + PartialOrd,
    {
        let text = self.optional(section, name)?;
        self.parse(section, name, &text, &range)
    }

    fn parse<T>(&mut self, section: &str, name: &str, text: &str, range: &RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + Display + PartialOrd,
    {
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (low, high) = (range.start(), range.end());
            self.wrong(section, name, &format!("{text} is not a number from {low} to {high}"));
        }
        number
    }

    /// A yes or no, in any of oslo.config's spellings.
    pub(super) fn boolean(&mut self, section: &'static str, name: &'static str, default: bool) -> bool {
        let written = if default { "true" } else { "false" };
        let Some(text) = self.raw(section, name, written) else { return default };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" => true,
            "false" | "0" | "off" | "no" => false,
            _ => {
                self.wrong(section, name, &format!("{text} is neither true nor false"));
                default
            }
        }
    }

    /// A list, separated by commas.
    pub(super) fn list(&mut self, section: &'static str, name: &'static str, default: &str) -> Vec<String> {
        let text = self.text(section, name, default);
        let text = text.trim_start_matches('[').trim_end_matches(']');
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// One of `choices`; the first is the default.
    pub(super) fn choice<T: Copy>(
        &mut self,
        section: &'static str,
        name: &'static str,
        choices: &[(&str, T)],
        default: (&str, T),
    ) -> T {
        let Some(text) = self.raw(section, name, default.0) else { return default.1 };
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => *value,
            None => {
                let words = choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
                self.wrong(section, name, &format!("{text} is none of {words}"));
                default.1
            }
        }
    }

    /// Notes that the value of an option is not usable.
    pub(super) fn wrong(&mut self, section: &str, name: &str, why: &str) {
        let place = self.ini.get(section, name).map(|entry| format!("{}: ", entry.place)).unwrap_or_default();
        self.problems.push(format!("{place}[{section}] {name}: {why}"));
    }

    /// Notes what is wrong with no single option.
    pub(super) fn problem(&mut self, sentence: String) {
        self.problems.push(sentence);
    }

    /// What is known, what is wrong, and which options of Nova's were left alone.
    pub(super) fn finish(self) -> (Vec<Known>, Vec<String>, Vec<String>) {
        let mut problems = self.problems.clone();
        let mut ignored = Vec::new();
        let unknown = self.ini.all().filter(|(section, name, _)| !self.is_known(section, name));
        for (section, name, place) in unknown {
            if section == super::OWN_SECTION {
                let hint =
                    self.suggestion(name).map(|known| format!("; did you mean {known}?")).unwrap_or_default();
                problems.push(format!("{place}: unknown option [{section}] {name}{hint}"));
            } else {
                ignored.push(format!("[{section}] {name}"));
            }
        }
        (self.known, problems, ignored)
    }

    fn raw(&mut self, section: &'static str, name: &'static str, default: &str) -> Option<String> {
        if !self.is_known(section, name) {
            self.known.push(Known { section, name, default: default.to_owned() });
        }
        let entry = self.ini.get(section, name)?;
        match self.ini.substitute(section, &entry.text) {
            Ok(text) => (!text.is_empty()).then_some(text),
            Err(why) => {
                self.wrong(section, name, &why);
                None
            }
        }
    }

    fn is_known(&self, section: &str, name: &str) -> bool {
        self.known.iter().any(|known| known.section == section && known.name == name)
    }

    fn suggestion(&self, name: &str) -> Option<&'static str> {
        let own = self.known.iter().filter(|known| known.section == super::OWN_SECTION);
        own.map(|known| (strsim::jaro_winkler(known.name, name), known.name))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, name)| name)
    }
}
