//! `check`: histories that were kept are judged again.

use std::path::PathBuf;

use clap::Args;
use ringmill_checker::judge_file;

use crate::report::Failure;

/// Judge kept histories again
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Histories, as a torture leaves them
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

impl Check {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut broken = Vec::new();
        for file in &self.files {
            let judge = judge_file(file).map_err(|error| Failure::NotPossible(error.to_string()))?;
            println!("{}: {} events, {} violations", file.display(), judge.line(), judge.violations().len());
            broken.extend(judge.violations().iter().map(|violation| format!("{}: {violation}", file.display())));
        }
        if broken.is_empty() { Ok(()) } else { Err(Failure::Broken(broken.join("\n"))) }
    }
}
