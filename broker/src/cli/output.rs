//! Tables for people and JSON for programs, to standard output.
//!
//! A closed pipe ends the command quietly; see `failure`.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use super::OutputFormat;
use super::failure::Failure;

/// A list of equal things: one row each.
pub(super) struct Rows {
    /// Column names, in JSON's spelling; a table shows them in capitals.
    pub(super) columns: &'static [&'static str],
    /// As many values as columns, each.
    pub(super) rows: Vec<Vec<Value>>,
}

impl Rows {
    /// As a JSON array of objects.
    pub(super) fn to_json(&self) -> Value {
        let object =
            |row: &Vec<Value>| self.columns.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned()).collect();
        Value::Array(self.rows.iter().map(|row| Value::Object(object(row))).collect())
    }

    /// As a table; numbers to the right.
    pub(super) fn to_table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(self.columns.iter().map(|name| name.replace('_', " ").to_uppercase()));
        for row in &self.rows {
            table.add_row(row.iter().map(|value| match value {
                Value::String(text) => text.clone(),
                Value::Null => "-".to_owned(),
                other => other.to_string(),
            }));
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if self.rows.iter().any(|row| row[index].is_number()) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        format!("{}\n", table.trim_fmt())
    }

    /// Prints them.
    pub(super) fn print(&self, format: OutputFormat) -> Result<(), Failure> {
        match format {
            OutputFormat::Table => print(&self.to_table()),
            OutputFormat::Json => print(&format!("{:#}\n", self.to_json())),
        }
    }
}

/// Says what was done: a sentence for people, an object for programs.
pub(super) fn print_done(format: OutputFormat, said: &str, json: &Value) -> Result<(), Failure> {
    match format {
        OutputFormat::Table => print(said),
        OutputFormat::Json => print(&format!("{json:#}\n")),
    }
}

/// Writes text to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    write(text.as_bytes())
}

/// The same with bytes.
pub(super) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_print_as_a_table_and_as_json() {
        let rows = Rows {
            columns: &["topic", "end_offset"],
            rows: vec![vec![json!("logs"), json!(12)], vec![json!("a"), json!(null)]],
        };
        let table = rows.to_table();
        let lines: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(lines, [vec!["TOPIC", "END", "OFFSET"], vec!["logs", "12"], vec!["a", "-"]]);
        assert_eq!(rows.to_json(), json!([{"topic": "logs", "end_offset": 12}, {"topic": "a", "end_offset": null}]));
    }
}
