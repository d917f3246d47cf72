//! The operator's page. Its three files are part of the program; what it shows comes from `/status.json`, and the script
//! puts it in place as text only, for names of servers are their owners' choice.

use actix_web::dev::HttpServiceFactory;
use actix_web::middleware::from_fn;
use actix_web::{HttpResponse, web};

use super::{Management, guard, status};

/// Path, type and content.
const FILES: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("page/page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
];

/// The page and its data, behind the guard.
pub(super) fn scope() -> impl HttpServiceFactory + 'static {
    let mut scope = web::scope("").route("/status.json", web::get().to(state));
    for (path, kind, content) in FILES {
        let file = move || async move { HttpResponse::Ok().content_type(kind).body(content) };
        scope = scope.route(path, web::get().to(file));
    }
    scope.wrap(from_fn(guard::ask))
}

async fn state(management: web::Data<Management>) -> HttpResponse {
    HttpResponse::Ok().json(status::of(&management).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_nothing_that_its_policy_forbids() {
        for (path, _, content) in FILES {
            for forbidden in [
                "http://",
                "https://",
                "<style",
                " style=",
                "onclick",
                "innerHTML",
                "eval(",
                "document.write",
            ] {
                assert!(!content.contains(forbidden), "{path} has {forbidden}");
            }
        }
    }
}
