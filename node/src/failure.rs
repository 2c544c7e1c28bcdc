//! What a command says when it fails.

use thiserror::Error;

/// The command was used wrongly: another call may do.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Misuse(pub(crate) String);

/// Whether a failure is the caller's.
pub(crate) fn is_misuse(error: &eyre::Report) -> bool {
    error.chain().any(|cause| cause.is::<Misuse>())
}

/// A failure and its causes in one sentence. Causes that an outer text names already are left out.
pub(crate) fn sentence(error: &eyre::Report) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    // names of files and answers of others may hold what a terminal obeys
    text.replace('\n', " ").replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use eyre::{Report, WrapErr};

    use super::{Misuse, is_misuse, sentence};

    #[test]
    fn a_cause_is_named_once() {
        let io = std::io::Error::other("no space left");
        let error = Err::<(), _>(io).wrap_err("cannot write x: no space left").unwrap_err();
        assert_eq!(sentence(&error), "cannot write x: no space left");
        let error = Report::msg("inner").wrap_err("outer");
        assert_eq!(sentence(&error), "outer: inner");
    }

    #[test]
    fn a_misuse_is_known_under_what_wraps_it() {
        let error = Report::new(Misuse("no".to_owned())).wrap_err("because");
        assert!(is_misuse(&error));
        assert!(!is_misuse(&Report::msg("no")));
    }
}
