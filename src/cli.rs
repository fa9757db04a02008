//! The command line: arguments, help, exit codes.

/// Runs what was typed.
pub fn run() -> std::process::ExitCode {
    match crate::serve::serve() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fulfilld: {error}");
            error.exit_code().into()
        }
    }
}
