//! `ringmill man`: the manual pages, made from the table of flags.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};

use super::failure::Failure;
use super::{CommandLine, output};

/// Print or write the manual pages
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill man | man -l -                        # the page of ringmill itself
  ringmill man topic create | man -l -
  ringmill man --dir ~/.local/share/man/man1     # one page for each command")]
pub(super) struct Man {
    /// The command whose page to print, as `topic create`
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,
    /// Write all pages into this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut root = without_help(CommandLine::command());
        root.build();
        if let Some(dir) = &self.dir {
            let failed = |error| Failure::other(format!("cannot write to {}: {error}", dir.display()));
            std::fs::create_dir_all(dir).map_err(failed)?;
            return clap_mangen::generate_to(root, dir).map_err(failed);
        }
        let mut command = &root;
        for name in &self.command {
            let found = command.find_subcommand(name);
            command = found.ok_or_else(|| {
                Failure::usage(format!(
                    "there is no command `{}`; `ringmill --help` lists them",
                    self.command.join(" ")
                ))
            })?;
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command.clone()).render(&mut page)?;
        output::write(&page)
    }
}

/// The command without its `help` subcommands, which need no pages.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}
