//! The table a benchmark ends with.

use std::fmt;

/// What a figure must reach.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// Nothing: the figure is there to be known.
    Unset,
}

impl Goal {
    fn met(self, value: f64) -> bool {
        match self {
            Goal::AtMost(limit) => value <= limit,
            Goal::AtLeast(limit) => value >= limit,
            Goal::Unset => true,
        }
    }

    fn verdict(self, value: f64) -> &'static str {
        match self {
            Goal::Unset => "",
            goal if goal.met(value) => "met",
            _ => "MISSED",
        }
    }

    fn is_set(self) -> bool {
        !matches!(self, Goal::Unset)
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::AtMost(limit) => write!(f, "<= {limit}"),
            Goal::AtLeast(limit) => write!(f, ">= {limit}"),
            Goal::Unset => Ok(()),
        }
    }
}

/// One figure: ours, theirs where there is one, and the number that is held against the goal.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) figure: String,
    pub(super) ours: String,
    pub(super) theirs: String,
    /// A ratio where both sides were measured, else our own figure.
    pub(super) value: f64,
    pub(super) goal: Goal,
}

/// The rows with aligned columns, and how many met their goals.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    pub(super) fn push(&mut self, row: Row) {
        self.0.push(row);
    }

    /// All goals are met.
    pub(crate) fn met(&self) -> bool {
        self.0.iter().all(|row| row.goal.met(row.value))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["figure", "ours", "theirs", "value", "goal", ""].map(str::to_owned);
        let lines: Vec<[String; 6]> = std::iter::once(head)
            .chain(self.0.iter().map(|row| {
                let verdict = row.goal.verdict(row.value);
                let value = format!("{:.2}", row.value);
                let [figure, ours, theirs] = [&row.figure, &row.ours, &row.theirs].map(String::clone);
                [figure, ours, theirs, value, row.goal.to_string(), verdict.to_owned()]
            }))
            .collect();
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or_default();
        let widths = [0, 1, 2, 3, 4, 5].map(width);
        for line in &lines {
            let cells: Vec<String> =
                line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        let goals = || self.0.iter().filter(|row| row.goal.is_set());
        let met = goals().filter(|row| row.goal.met(row.value)).count();
        write!(f, "{met} of {} goals met", goals().count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(figure: &str, value: f64, goal: Goal) -> Row {
        Row { figure: figure.into(), ours: "1 s".into(), theirs: String::new(), value, goal }
    }

    #[test]
    fn a_table_says_which_goals_were_missed() {
        let mut table = Table::default();
        table.push(row("boot", 0.5, Goal::AtMost(0.8)));
        assert!(table.met());
        table.push(row("50 at once", 2.0, Goal::AtLeast(3.0)));
        table.push(row("ping", 0.1, Goal::Unset));
        assert!(!table.met());
        assert_eq!(
            table.to_string(),
            "figure      ours  theirs  value  goal\n\
             boot        1 s           0.50   <= 0.8  met\n\
             50 at once  1 s           2.00   >= 3    MISSED\n\
             ping        1 s           0.10\n\
             1 of 2 goals met"
        );
    }

    #[test]
    fn a_figure_that_was_not_measured_never_meets_a_goal() {
        assert!(!Goal::AtMost(1.0).met(f64::INFINITY));
        assert!(!Goal::AtLeast(1.0).met(f64::NAN));
    }
}
