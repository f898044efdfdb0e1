//! How commands delete what they are given the names of: one after the other, up to the first refusal, and tell what became of each.

use ringmill_net::client::ClientError;
use serde_json::json;

use super::OutputFormat;
use super::failure::Failure;
use super::output::{self, Rows};

/// Has `delete` remove each of `names`; it says whether that was there. `columns` are those of the names and of whether they were deleted.
pub(super) async fn delete_each(
    columns: &'static [&'static str; 2],
    names: &[String],
    format: OutputFormat,
    delete: impl AsyncFn(&str) -> Result<bool, ClientError>,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut failed = None;
    for name in names {
        let deleted = match delete(name).await {
            Ok(deleted) => deleted,
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        rows.push(vec![json!(name), json!(deleted)]);
        if format == OutputFormat::Table {
            let said = if deleted { format!("deleted {name}\n") } else { format!("{name} is not there\n") };
            output::print(&said)?;
        }
    }
    if format == OutputFormat::Json {
        Rows { columns, rows }.print(format)?;
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}
