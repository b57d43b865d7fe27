//! One spawned program with a name: how it is shown, run, and how its failure reads. It inherits stderr, so that
//! progress is seen as it happens; stdin is closed.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::workspace::Workspace;

/// The cargo that runs xtask.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// A program to run in the root of the workspace.
#[derive(Debug)]
pub(crate) struct Step {
    name: &'static str,
    program: PathBuf,
    args: Vec<OsString>,
    envs: Vec<(&'static str, OsString)>,
    workspace: Workspace,
}

impl Step {
    pub(crate) fn new(name: &'static str, program: &Path, workspace: &Workspace) -> Self {
        let program = program.to_path_buf();
        Self { name, program, args: Vec::new(), envs: Vec::new(), workspace: workspace.clone() }
    }

    /// A step of the cargo that runs xtask.
    pub(crate) fn cargo(name: &'static str, workspace: &Workspace) -> Self {
        Self::new(name, &cargo(), workspace)
    }

    pub(crate) fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.envs.push((name, value.into()));
        self
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The command line to type in the root of the workspace.
    pub(crate) fn command_line(&self) -> String {
        let env = |(name, value): &(&str, OsString)| {
            format!("{name}={}", quoted(&value.to_string_lossy()))
        };
        let envs = self.envs.iter().map(env);
        let shown = self.workspace.show(&self.program).to_string();
        let program = if self.program == cargo() { "cargo".to_owned() } else { quoted(&shown) };
        let args = self.args.iter().map(|arg| quoted(&arg.to_string_lossy()));
        envs.chain([program]).chain(args).collect::<Vec<_>>().join(" ")
    }

    /// Runs it with its output shown.
    pub(crate) fn run(&self) -> Result<()> {
        let status = self.command().status().with_context(|| self.cannot_start())?;
        self.check(status)
    }

    /// Runs it and hands over each line of its stdout as soon as it is printed.
    pub(crate) fn run_each_line(&self, mut each: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let mut child = self.start()?;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).lines() {
                each(
                    &line
                        .with_context(|| format!("cannot read what step `{}` prints", self.name))?,
                )?;
            }
        }
        let status = child.wait().with_context(|| format!("step `{}` got lost", self.name))?;
        self.check(status)
    }

    /// Runs it and gives what it printed on stdout.
    pub(crate) fn capture(&self) -> Result<String> {
        let output = self.command().stderr(Stdio::inherit()).output();
        let output = output.with_context(|| self.cannot_start())?;
        self.check(output.status)?;
        String::from_utf8(output.stdout)
            .with_context(|| format!("step `{}` printed text that is not UTF-8", self.name))
    }

    /// Runs it and reads the one JSON value that it printed on stdout.
    pub(crate) fn capture_json<T: DeserializeOwned>(&self) -> Result<T> {
        let printed = self.capture()?;
        serde_json::from_str(&printed)
            .with_context(|| format!("`{}` printed no measurement", self.command_line()))
    }

    /// Starts it and leaves it running; its stdout can be read.
    pub(crate) fn start(&self) -> Result<Child> {
        self.command().stdout(Stdio::piped()).spawn().with_context(|| self.cannot_start())
    }

    /// Becomes the program where the system can, so that signals and the exit code are the program's own.
    pub(crate) fn become_it(&self) -> Result<()> {
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            Err(self.command().exec()).with_context(|| self.cannot_start())
        }
        #[cfg(not(unix))]
        self.run()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.envs.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.workspace.root()).stdin(Stdio::null());
        command
    }

    fn cannot_start(&self) -> String {
        format!("step `{}` cannot start {}", self.name, self.program.display())
    }

    fn check(&self, status: ExitStatus) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        let message = format!("step `{}` failed ({status}): {}", self.name, self.command_line());
        Err(Failure::step(status.code(), message).into())
    }
}

/// `word` as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_can_be_pasted_into_a_shell() {
        let workspace = Workspace::at("/repo");
        let step = Step::new("t", Path::new("/repo/target/release/dhih-train"), &workspace)
            .env("RUSTDOCFLAGS", "-D warnings")
            .args(["train", "--run-dir", "a b", "it's", ""]);
        let expected = r"RUSTDOCFLAGS='-D warnings' target/release/dhih-train train --run-dir 'a b' 'it'\''s' ''";
        assert_eq!(step.command_line(), expected);
        let fmt = Step::cargo("t", &workspace).args(["fmt"]);
        assert_eq!(fmt.command_line(), "cargo fmt");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let step = Step::new("train", Path::new("no/such/program"), &Workspace::at("."));
        for error in
            [step.run().unwrap_err(), step.capture().unwrap_err(), step.become_it().unwrap_err()]
        {
            assert_eq!(error.to_string(), "step `train` cannot start no/such/program");
        }
    }
}
