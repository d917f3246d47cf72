//! How long the host has been up, in the form of uptime(1): nova-api reads it with a regular expression.

use serde::Deserialize;

use super::{Call, Method};
use crate::error::Error;
use crate::instance::guards::Guards;

/// No arguments.
#[derive(Deserialize)]
pub struct GetHostUptime {}

impl Method for GetHostUptime {
    const NAME: &'static str = "get_host_uptime";
    const GUARDS: Guards = Guards::NONE;
    type Reply = String;

    async fn run(self, _call: &Call) -> Result<String, Error> {
        let unreadable =
            |error: std::io::Error| Error::NotImplemented(format!("the uptime cannot be read: {error}"));
        let uptime = tokio::fs::read_to_string("/proc/uptime").await.map_err(unreadable)?;
        let load = tokio::fs::read_to_string("/proc/loadavg").await.map_err(unreadable)?;
        Ok(uptime_line(&jiff::Zoned::now().strftime("%H:%M:%S").to_string(), &uptime, &load))
    }
}

/// ` 15:04:05 up 3 days,  2:01,  0 users,  load average: 0.10, 0.20, 0.30`
fn uptime_line(time: &str, uptime: &str, load: &str) -> String {
    let seconds: u64 = uptime.split(['.', ' ']).next().and_then(|text| text.parse().ok()).unwrap_or_default();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let days = match days {
        0 => String::new(),
        1 => "1 day, ".to_owned(),
        more => format!("{more} days, "),
    };
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    format!(" {time} up {days}{hours:2}:{minutes:02},  0 users,  load average: {}", load.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_looks_like_that_of_uptime() {
        let line = uptime_line("15:04:05", "266461.42 1000.0\n", "0.10 0.20 0.30 1/200 4711\n");
        assert_eq!(line, " 15:04:05 up 3 days,  2:01,  0 users,  load average: 0.10, 0.20, 0.30");
        assert!(uptime_line("15:04:05", "60.0 1.0", "0 0 0 1/1 1").contains("up  0:01,"));
    }
}
