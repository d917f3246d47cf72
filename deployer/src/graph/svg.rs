//! How the picture looks: boxes over coloured lines, readable on light and on dark ground.

use std::fmt::Write as _;

use super::Part;
use super::layout::{Area, Layout, Line};

/// Colours of lines, on light and on dark ground; the lines to one service share theirs.
const COLOURS: [(&str, &str); 8] = [
    ("#2563b8", "#6ea8ff"),
    ("#b3402a", "#ff8f73"),
    ("#2c7a3f", "#67c77f"),
    ("#8a5a00", "#e0ad4a"),
    ("#7a3fa0", "#c594ea"),
    ("#007a7a", "#4fc9c9"),
    ("#a8326e", "#f07fb4"),
    ("#5b6470", "#a3adba"),
];

/// Characters in a line of a card, lines of a description, and a name that is set smaller.
const LINE: usize = 22;
const LINES: usize = 2;
const LONG_NAME: usize = 18;

const STYLE: &str = "\
text { font: 11px system-ui, 'DejaVu Sans', sans-serif; fill: #5a6472 }
.ground { fill: #ffffff } .box { fill: #f5f7fa; stroke: #b4bdc9 } .frame { fill: #eef4fb; stroke: #9db8d6; stroke-dasharray: 5 4 }
.title { font-size: 19px; font-weight: 600; fill: #1c2430 } .name { font-size: 12px; font-weight: 600; fill: #1c2430 }
.long { font-size: 9.8px } .port { font-weight: 600; fill: #2563b8 } .line { fill: none; stroke-width: 1.5; opacity: .62 } .tip { opacity: .85 }
.ready { fill: #2f9e4f } .coming { fill: #e09b00 } .down { fill: #d1382c }
@media (prefers-color-scheme: dark) {
text { fill: #a9b4c2 } .ground { fill: #12161c } .box { fill: #1e252e; stroke: #46515f } .frame { fill: #172231; stroke: #3d587a }
.title, .name { fill: #eef2f7 } .port { fill: #6ea8ff } .ready { fill: #4cc36d } .coming { fill: #f0b429 } .down { fill: #ff6b5e }
}
";

/// The file.
pub(super) fn write(title: &str, parts: &[Part], layout: &Layout) -> String {
    let Layout { width, height, areas, frames, lines } = layout;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" role=\"img\">\n<title>{}</title>\n<style>\n{STYLE}{}</style>\n\
         <rect class=\"ground\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"10\"/>\n",
        escaped(title),
        colours(),
    );
    let _ = writeln!(svg, "<text class=\"title\" x=\"28\" y=\"40\">{}</text>", escaped(title));
    for frame in frames {
        svg += &rectangle("frame", &areas[*frame], 10.0);
    }
    // Each service that is needed has the next colour.
    let mut needed: Vec<usize> = lines.iter().map(|line| line.to).collect();
    needed.sort_unstable();
    needed.dedup();
    for line in lines {
        let colour = needed.iter().position(|part| *part == line.to).unwrap_or_default() % COLOURS.len();
        svg += &curve(line, colour, parts);
    }
    for (at, (part, area)) in parts.iter().zip(areas).enumerate() {
        svg += &if frames.contains(&at) { caption(part, area) } else { card(part, area) };
    }
    svg += &legend(parts, *height);
    svg + "</svg>\n"
}

fn colours() -> String {
    let rules = |dark: bool| {
        let rule = |(at, (on_light, on_dark)): (usize, &(&str, &str))| {
            let colour = if dark { on_dark } else { on_light };
            format!(".c{at} {{ stroke: {colour} }} .t{at} {{ fill: {colour} }}\n")
        };
        COLOURS.iter().enumerate().map(rule).collect::<String>()
    };
    format!("{}@media (prefers-color-scheme: dark) {{\n{}}}\n", rules(false), rules(true))
}

fn rectangle(class: &str, area: &Area, radius: f64) -> String {
    let Area { x, y, width, height } = area;
    format!(
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{radius}\"/>\n"
    )
}

fn curve(line: &Line, colour: usize, parts: &[Part]) -> String {
    let ((x1, y1), (x2, y2)) = (line.start, line.end);
    let down = y2 > y1;
    // The tip is at the end; an arc comes back up to it.
    let up = line.arc || !down;
    let tip = if up { 6.0 } else { -6.0 };
    let end = y2 + tip;
    let bend = if line.arc { 26.0 + (x2 - x1).abs() / 40.0 } else { ((y2 - y1).abs() / 2.0).min(150.0) };
    let (leave, arrive) = if line.arc {
        (y1 + bend, end + bend)
    } else if down {
        (y1 + bend, end - bend)
    } else {
        (y1 - bend, end + bend)
    };
    format!(
        "<path class=\"line c{colour}\" d=\"M{x1:.1} {y1:.1}C{x1:.1} {leave:.1} {x2:.1} {arrive:.1} {x2:.1} {end:.1}\">\
         <title>{} needs {}</title></path>\n\
         <path class=\"tip t{colour}\" d=\"M{:.1} {end:.1}L{:.1} {end:.1}L{x2:.1} {y2:.1}Z\"/>\n",
        escaped(&parts[line.from].name),
        escaped(&parts[line.to].name),
        x2 - 3.5,
        x2 + 3.5,
    )
}

fn card(part: &Part, area: &Area) -> String {
    let (x, y, bottom) = (area.x + 10.0, area.y, area.y + area.height - 9.0);
    let mut text = rectangle("box", area, 7.0);
    text += &dot(part, x + 4.0, y + 15.0);
    let name = if part.state.is_some() { x + 13.0 } else { x };
    let class = if part.name.len() > LONG_NAME { "name long" } else { "name" };
    text += &words(class, name, y + 19.0, &part.name);
    for (at, line) in wrapped(&part.description).iter().enumerate() {
        text += &words("", x, y + 36.0 + at as f64 * 13.0, line);
    }
    text += &words("", x, bottom, part.version.as_deref().unwrap_or_default());
    let ports = ports(part);
    if !ports.is_empty() {
        let end = area.x + area.width - 10.0;
        text += &format!(
            "<text class=\"port\" x=\"{end:.1}\" y=\"{bottom:.1}\" text-anchor=\"end\">{ports}</text>\n"
        );
    }
    // What does not fit on the card stands over it.
    if part.published.len() > 1 {
        let list: Vec<String> = part.published.iter().map(u16::to_string).collect();
        let list = format!("published: {}", list.join(" · "));
        let middle = area.x + area.width / 2.0;
        text += &format!(
            "<text class=\"port\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{list}</text>\n",
            y - 9.0
        );
    }
    text
}

/// The head of a frame.
fn caption(part: &Part, area: &Area) -> String {
    let (x, y) = (area.x + 16.0, area.y + 19.0);
    let name = if part.state.is_some() { x + 13.0 } else { x };
    let mut line = format!(
        "<text x=\"{name:.1}\" y=\"{y:.1}\"><tspan class=\"name\">{}</tspan>  {}",
        escaped(&part.name),
        escaped(&part.description)
    );
    for port in &part.published {
        let _ = write!(line, "  <tspan class=\"port\">published: {port}</tspan>");
    }
    dot(part, x + 4.0, y - 4.0) + &line + "</text>\n"
}

fn ports(part: &Part) -> String {
    match (part.published.as_slice(), part.port) {
        ([], Some(port)) => format!(":{port}"),
        ([port], _) => format!("published: {port}"),
        _ => String::new(),
    }
}

fn dot(part: &Part, x: f64, y: f64) -> String {
    let class = match part.state {
        None => return String::new(),
        Some("ready") => "ready",
        Some("running" | "restarting" | "created") => "coming",
        Some(_) => "down",
    };
    let state = part.state.unwrap_or_default();
    format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{state}</title></circle>\n")
}

fn words(class: &str, x: f64, y: f64, text: &str) -> String {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<text{class} x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n", escaped(text))
}

fn legend(parts: &[Part], height: f64) -> String {
    let y = height - 16.0;
    let mut text =
        words("", 28.0, y, "An arrow points at what a service needs; its colour is that service's.");
    if parts.iter().any(|part| part.state.is_some()) {
        for (at, (class, state)) in
            [("ready", "ready"), ("coming", "coming up"), ("down", "not running")].into_iter().enumerate()
        {
            let x = 430.0 + at as f64 * 100.0;
            let _ = writeln!(text, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4\"/>", y - 4.0);
            text += &words("", x + 9.0, y, state);
        }
    }
    text
}

/// The lines of a description on a card; what goes beyond the last is left out.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let full = lines.len() == LINES;
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < LINE => {
                line.push(' ');
                line.push_str(word);
            }
            Some(line) if full => {
                line.push('…');
                break;
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
