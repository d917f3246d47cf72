//! The only place that prints. Standard output carries data, standard error carries talk and progress.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where output goes; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Printer {
    quiet: bool,
    start: Instant,
    /// Progress bars, when standard error is a terminal.
    bars: Option<Arc<MultiProgress>>,
}

impl Printer {
    pub(crate) fn new(quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal() && !quiet;
        let bars = terminal
            .then(|| Arc::new(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10))));
        Printer { quiet, start: Instant::now(), bars }
    }

    /// Data for standard output. A closed pipe (`octopenstack status | head`) is the reader's good right.
    pub(crate) fn data(&self, text: &str) {
        let _ = writeln!(io::stdout(), "{text}");
    }

    /// A line of talk.
    pub(crate) fn say(&self, text: &str) {
        if self.quiet {
            return;
        }
        match &self.bars {
            Some(bars) => drop(bars.println(text)),
            None => drop(writeln!(io::stderr(), "{text}")),
        }
    }

    /// A line of talk with the seconds since the start.
    pub(crate) fn step(&self, text: &str) {
        self.say(&format!("{:7.1}s  {text}", self.start.elapsed().as_secs_f64()));
    }

    /// Time since the command began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// A task that will take a while.
    pub(crate) fn task(&self, name: &str) -> Task {
        let bar = self.bars.as_ref().map(|bars| {
            // Above the bar of the whole.
            let bar = bars.insert(0, ProgressBar::new_spinner());
            // The template is a constant; were it wrong, the plain spinner would do.
            if let Ok(style) =
                ProgressStyle::with_template("         {spinner} {prefix:.bold} {wide_msg} {elapsed:>4}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Task { name: name.to_owned(), bar, printer: self.clone(), start: Instant::now() }
    }

    /// How far a number of services is; drawn on a terminal only.
    pub(crate) fn progress(&self, total: usize) -> Progress {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(total as u64));
            if let Ok(style) =
                ProgressStyle::with_template("         {bar:24.green} {pos} of {len} ready{msg:.dim}")
            {
                bar.set_style(style);
            }
            bar
        });
        Progress { bar, bars: self.bars.clone() }
    }

    /// Asks a yes-or-no question; `None` when there is nobody to ask.
    pub(crate) fn ask(&self, question: &str) -> Option<bool> {
        if !io::stdin().is_terminal() {
            return None;
        }
        let _ = write!(io::stderr(), "{question} [y/N] ");
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

/// The bar below all tasks.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    bars: Option<Arc<MultiProgress>>,
}

impl Progress {
    /// So many are ready, and this is what the others wait for: a line each, below the bar.
    pub(crate) fn now(&self, ready: usize, waiting: &[String]) {
        if let Some(bar) = &self.bar {
            bar.set_position(ready as u64);
            bar.set_message(waiting.iter().map(|line| format!("\n           {line}")).collect::<String>());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let (Some(bar), Some(bars)) = (&self.bar, &self.bars) {
            bar.finish_and_clear();
            bars.remove(bar);
        }
    }
}

/// One line of progress.
#[derive(Debug)]
pub(crate) struct Task {
    name: String,
    bar: Option<ProgressBar>,
    printer: Printer,
    start: Instant,
}

impl Task {
    /// What is being done now. Shown on a terminal only: plain output would drown in it.
    pub(crate) fn now(&self, doing: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(doing.to_owned());
        }
    }

    /// Done: leaves one line.
    pub(crate) fn done(&self, what: &str) {
        self.clear();
        self.printer.step(&format!("{}: {what} ({:.1} s)", self.name, self.start.elapsed().as_secs_f64()));
    }

    /// Ends without a line: nothing had to be done.
    pub(crate) fn clear(&self) {
        if let (Some(bar), Some(bars)) = (&self.bar, &self.printer.bars) {
            bar.finish_and_clear();
            bars.remove(bar);
        }
    }
}
