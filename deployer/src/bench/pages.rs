//! How long pages of the dashboard take, asked for as a browser does, without what they load besides.

use std::time::Instant;

use reqwest::header::{COOKIE, REFERER, SET_COOKIE};
use reqwest::{Client, Response, StatusCode, Url};

use super::Error;
use super::stats::Samples;
use super::table::{Goal, Row, Table};

/// Pages that people look at.
const PAGES: [&str; 9] = [
    "/project/",
    "/project/instances/",
    "/project/images/",
    "/project/networks/",
    "/project/security_groups/",
    "/admin/",
    "/admin/instances/",
    "/admin/hypervisors/",
    "/identity/",
];

/// How often each is asked for, after once to warm up.
const TIMES: usize = 5;

/// Seconds that a page may take.
const GOAL: f64 = 2.0;

/// The dashboard, by somebody who is logged in.
struct Visit<'a> {
    client: &'a Client,
    site: &'a str,
    cookies: Vec<(String, String)>,
}

/// Adds what the pages of `site` take.
///
/// # Errors
/// When the login is refused, or a page fails.
pub(super) async fn measure(
    client: &Client,
    site: &str,
    (user, password): (&str, &str),
    table: &mut Table,
) -> Result<(), Error> {
    let mut visit = Visit { client, site, cookies: Vec::new() };
    visit.log_in(user, password).await?;
    let mut pages = Vec::new();
    for page in PAGES {
        visit.page(page).await?;
        let mut samples = Samples::default();
        for _ in 0..TIMES {
            let start = Instant::now();
            visit.page(page).await?;
            samples.push(start.elapsed());
        }
        pages.push((samples.median().as_secs_f64(), page));
    }
    rows(table, pages);
    Ok(())
}

/// `pages`: seconds and path of each.
fn rows(table: &mut Table, mut pages: Vec<(f64, &str)>) {
    pages.sort_by(|one, other| one.0.total_cmp(&other.0));
    let middle = pages.get(pages.len() / 2).copied();
    for (which, page) in [("median", middle), ("slowest", pages.last().copied())] {
        let Some((seconds, path)) = page else { continue };
        table.push(Row {
            figure: format!("dashboard, {which} of {} pages: {path}", pages.len()),
            ours: format!("{seconds:.2} s"),
            theirs: String::new(),
            value: seconds,
            goal: Goal::AtMost(GOAL),
        });
    }
}

impl Visit<'_> {
    async fn log_in(&mut self, user: &str, password: &str) -> Result<(), Error> {
        const PATH: &str = "/auth/login/";
        let form = self.get(PATH).await?;
        self.keep(&form);
        let form = form.text().await.map_err(|source| self.failed(source))?;
        let mut fields = hidden(&form);
        fields.retain(|(name, _)| name != "username" && name != "password");
        fields.push(("username".to_owned(), user.to_owned()));
        fields.push(("password".to_owned(), password.to_owned()));
        // A form's body is written as a query is.
        let written = Url::parse_with_params(self.site, &fields);
        let body = written.ok().and_then(|url| url.query().map(str::to_owned)).unwrap_or_default();
        let request = self.client.post(format!("{}{PATH}", self.site)).header(COOKIE, self.cookies());
        let request = request.header(REFERER, format!("{}{PATH}", self.site));
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let answer = request.body(body).send().await.map_err(|source| self.failed(source))?;
        // The form once more means that the login was refused.
        if answer.status() != StatusCode::FOUND {
            return Err(Error::Page { path: PATH.to_owned(), status: answer.status() });
        }
        self.keep(&answer);
        Ok(())
    }

    /// Asks for a page, to its last byte.
    async fn page(&self, path: &str) -> Result<(), Error> {
        let answer = self.get(path).await?;
        if answer.status() != StatusCode::OK {
            return Err(Error::Page { path: path.to_owned(), status: answer.status() });
        }
        answer.bytes().await.map_err(|source| self.failed(source))?;
        Ok(())
    }

    async fn get(&self, path: &str) -> Result<Response, Error> {
        let request = self.client.get(format!("{}{path}", self.site)).header(COOKIE, self.cookies());
        request.send().await.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: reqwest::Error) -> Error {
        Error::Site { url: self.site.to_owned(), source }
    }

    fn keep(&mut self, answer: &Response) {
        for header in answer.headers().get_all(SET_COOKIE) {
            let pair = header.to_str().ok().and_then(|text| text.split(';').next()?.split_once('='));
            let Some((name, value)) = pair else { continue };
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
    }

    fn cookies(&self) -> String {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }
}

/// Names and values of a form's inputs.
fn hidden(form: &str) -> Vec<(String, String)> {
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let tags = form.split("<input").skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag);
    tags.filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value")?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inputs_of_a_form_are_found() {
        let form = "<form><input type=\"hidden\" name=\"csrfmiddlewaretoken\" value=\"abc\">\n<input type=\"text\" \
                    name=\"username\" id=\"id_username\"><input name=\"region\" value=\"default\" /></form>";
        let expected = [("csrfmiddlewaretoken", "abc"), ("region", "default")];
        assert_eq!(hidden(form), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn the_middle_and_the_slowest_page_are_told() {
        let mut table = Table::default();
        rows(&mut table, vec![(0.3, "/a"), (2.5, "/b"), (0.1, "/c")]);
        let text = table.to_string();
        assert!(text.contains("median of 3 pages: /a") && text.contains("slowest of 3 pages: /b"), "{text}");
        assert!(!table.met());
    }
}
