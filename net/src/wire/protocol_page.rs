//! The page `net/PROTOCOL.md`: its tables are written from the code, and a test fails when they are not what the code says.
//!
//! Only compiled for tests. `RINGMILL_REWRITE=1 cargo test -p ringmill-net --lib protocol_page` writes the tables anew; what stands
//! around them is written by hand.

use super::api::{Api, SERVED};
use super::api_plan::{PLANS, Plan};
use super::error_cause::CAUSES;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/PROTOCOL.md");

/// Set to anything, the page is written instead of compared.
const REWRITE: &str = "RINGMILL_REWRITE";

/// The generated parts by name; each lies between its own two marks.
fn parts() -> [(&'static str, String); 2] {
    [("apis", apis()), ("error codes", error_codes())]
}

fn apis() -> String {
    let mut table =
        "| key | API | Kafka 4.4 | advertised | served | flexible from | status |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for (key, kafka, plan, words) in PLANS {
        let kafka = kafka.map_or("none".to_owned(), |(first, last)| range(first, last));
        let api = SERVED.iter().find(|api| api.key == *key);
        let (advertised, served, flexible) = match api {
            Some(Api { advertised_from, version_min, version_max, flexible_from, .. }) => (
                range(*advertised_from, *version_max),
                range(*version_min, *version_max),
                first_flexible(*flexible_from),
            ),
            None => Default::default(),
        };
        let status = match (api, plan) {
            (Some(_), Plan::Served) => "**served**",
            (None, Plan::Served | Plan::NotYet) => "not yet",
            (None, Plan::Never) => "never",
            (Some(_), _) => panic!("{key:?} is served: say so in api_plan.rs"),
        };
        let status = if words.is_empty() { status.to_owned() } else { format!("{status}: {words}") };
        let number = key.code();
        table += &format!("| {number} | {key:?} | {kafka} | {advertised} | {served} | {flexible} | {status} |\n");
    }
    table
}

/// The version, or that there is none.
fn first_flexible(version: i16) -> String {
    if version == i16::MAX { "never".to_owned() } else { version.to_string() }
}

/// `3–13`, or `3` alone.
pub(super) fn range(first: i16, last: i16) -> String {
    if first == last { first.to_string() } else { format!("{first}–{last}") }
}

fn error_codes() -> String {
    let mut table =
        "| code | name | retriable | cause here | what the client does |\n|---|---|---|---|---|\n".to_owned();
    for row in CAUSES {
        let (code, name) = (row.code.code(), row.code.name());
        let retriable = if row.code.is_retriable() { "yes" } else { "no" };
        table += &format!("| {code} | {name} | {retriable} | {} | {} |\n", row.cause, row.client);
    }
    table
}

/// The page with its generated parts as they should be.
fn rewritten(page: &str) -> String {
    let mut page = page.to_owned();
    for (name, text) in parts() {
        let (begin, end) = (format!("<!-- {name}: written by a test -->\n"), format!("<!-- {name}: end -->"));
        let from = page.find(&begin).unwrap_or_else(|| panic!("{PAGE} has no line {begin}")) + begin.len();
        let length = page[from..].find(&end).unwrap_or_else(|| panic!("{PAGE} has no line {end}"));
        page.replace_range(from..from + length, &text);
    }
    page
}

#[test]
fn protocol_page_says_what_the_code_does() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let expected = rewritten(&page);
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(PAGE, expected).unwrap();
        return;
    }
    let strays: Vec<_> = page.lines().zip(expected.lines()).filter(|(is, should)| is != should).take(3).collect();
    assert!(
        page == expected,
        "net/PROTOCOL.md is not what the code says; run: {REWRITE}=1 cargo test -p ringmill-net --lib protocol_page\n{strays:#?}"
    );
}

#[test]
fn every_api_has_its_plan_and_every_cause_its_place() {
    assert!(PLANS.iter().enumerate().all(|(index, row)| usize::try_from(row.0.code()) == Ok(index)));
    assert!(super::ApiKey::from_code(i16::try_from(PLANS.len()).unwrap()).is_none(), "an API has no plan");
    assert!(CAUSES.is_sorted_by_key(|row| row.code.code()));
    for api in SERVED {
        let (key, kafka, ..) = PLANS[usize::try_from(api.key.code()).unwrap()];
        assert_eq!(key, api.key);
        assert!(kafka.is_some_and(|(first, last)| first <= api.version_min && api.version_max <= last), "{key:?}");
    }
}
