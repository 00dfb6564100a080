//! The page at `/`: whole, from this server alone, and kept by browsers.

use std::collections::HashSet;

use crate::wire::Server;

/// The values of an attribute in HTML, or of `from` in a script.
fn quoted<'a>(text: &'a str, before: &str, quote: char) -> Vec<&'a str> {
    let after = text.split(before).skip(1);
    after.filter_map(|rest| rest.split(quote).next()).collect()
}

/// Follows what the page asks for, and what that asks for.
#[tokio::test]
async fn everything_that_the_page_needs_comes_from_this_server() {
    let server = Server::start().await;
    let mut known = HashSet::from(["/".to_owned()]);
    let mut waiting = vec!["/".to_owned()];
    while let Some(path) = waiting.pop() {
        let file = server.get(&path).await;
        assert_eq!(file.status, 200, "{path}");
        let kind = match path.rsplit('.').next() {
            Some("js") => "text/javascript",
            Some("css") => "text/css",
            Some("svg") => "image/svg+xml",
            _ => "text/html",
        };
        assert!(
            file.head.contains(&format!("content-type: {kind}")),
            "{path}"
        );
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-cache",
        ] {
            assert!(file.head.contains(header), "{path}: {}", file.head);
        }
        let elsewhere = file.body.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("http:"), "{path}");
        assert!(!elsewhere.contains("https:"), "{path}");
        let mut named = quoted(&file.body, " src=\"", '"');
        named.extend(quoted(&file.body, " href=\"", '"'));
        let mut asked: Vec<_> = named.into_iter().map(str::to_owned).collect();
        let scripts = quoted(&file.body, " from './", '\'');
        asked.extend(scripts.iter().map(|script| format!("/page/{script}")));
        asked.retain(|path| path.starts_with("/page/"));
        waiting.extend(asked.into_iter().filter(|path| known.insert(path.clone())));
    }
    assert!(known.contains("/page/style.css") && known.contains("/page/playground.js"));
}

/// Neither scripts nor styles nor handlers stand in the page itself: the policy forbids them.
#[tokio::test]
async fn nothing_is_inline() {
    let server = Server::start().await;
    let page = server.get("/").await.body;
    assert!(!page.contains("<style") && !page.contains(" style="));
    assert_eq!(
        page.matches("<script").count(),
        page.matches("<script type=\"module\" src=").count()
    );
    let is_handler = |word: &str| word.starts_with("on") && word.contains('=');
    assert!(!page.split_whitespace().any(is_handler));
}

#[tokio::test]
async fn a_browser_that_has_the_file_is_not_sent_it_again() {
    let server = Server::start().await;
    let first = server.get("/page/page.js").await;
    let tag = first
        .head
        .lines()
        .find_map(|line| line.strip_prefix("etag: "));
    let tag = tag.unwrap();
    let known = format!("If-None-Match: W/{tag}, \"x\"\r\n");
    let again = server.get_with("/page/page.js", &known).await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    let other = server
        .get_with("/page/page.js", "If-None-Match: \"x\"\r\n")
        .await;
    assert_eq!((other.status, other.body), (200, first.body));
}
