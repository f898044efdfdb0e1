//! `ringmill completions`: a shell's completion script, made from the table of flags.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::failure::Failure;
use super::{CommandLine, output};

/// Print a script that completes commands in a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill completions bash > ~/.local/share/bash-completion/completions/ringmill
  ringmill completions zsh > ~/.zfunc/_ringmill
  ringmill completions fish > ~/.config/fish/completions/ringmill.fish")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut CommandLine::command(), "ringmill", &mut script);
        output::write(&script)
    }
}
