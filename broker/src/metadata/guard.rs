//! redb believes its file: where a page is not what it must be, it may panic. Here such a panic while a database is opened becomes what it
//! means, a damaged file.
//!
//! Where panics unwind they are caught. The program itself aborts on a panic; there a hook says the same sentence and ends the process
//! in order, before the abort. `store` and `inspect` call it. What has been opened and checked is as redb wrote it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::process::exit;
use std::sync::Once;

use super::OpenError;

/// What any failed command exits with.
const EXIT_CODE: i32 = 1;

thread_local! {
    /// The database that this thread is opening.
    static OPENING: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Opens the database at `path`, which is for messages; a panic on the way is damage.
pub(super) fn opening<T>(path: &str, open: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    install_hook();
    OPENING.set(Some(path.to_owned()));
    // What a panic leaves half done is dropped with it.
    let opened = catch_unwind(AssertUnwindSafe(open));
    OPENING.set(None);
    opened.unwrap_or_else(|_| Err(impossible(path)))
}

fn impossible(path: &str) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), why: "a page in it contradicts the others".to_owned() }
}

fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            // A thread that ends has lost its cell, and opens nothing.
            let path = OPENING.try_with(|path| path.borrow().clone()).ok().flatten();
            match path {
                Some(path) if cfg!(panic = "abort") => {
                    eprintln!("ringmill: {}", impossible(&path));
                    exit(EXIT_CODE);
                }
                Some(path) => tracing::warn!(path, %panic, "a damaged database"),
                None => usual(panic),
            }
        }));
    });
}
