//! Looks at a file from outside: there, fresh, of the right size. On a thread, as its disk may hang.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use crate::aside::Threads;
use crate::engine::time::Pretty;
use crate::probe::question::FileQuestion;
use crate::probe::{Answer, Clock, in_words, ours, theirs};

pub(crate) async fn ask(threads: &Threads, question: FileQuestion, limit: Duration, clock: Clock) -> Answer {
    // A little less than all: that a disk hangs says nothing about the unit, and has to be heard in time.
    let (path, within) = (question.path.clone(), limit.saturating_sub(limit / 16));
    let found = threads.ask(within, move || fs::metadata(path)).await;
    let shown = question.path.display();
    match found {
        None => Err(ours(format!("cannot look at {shown} within {}", Pretty(within)))),
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            Err(theirs(format!("{shown} is not there")))
        }
        Some(Err(error)) => Err(ours(format!("cannot look at {shown}: {}", in_words(&error)))),
        Some(Ok(found)) => {
            let written = u64::try_from(found.mtime()).unwrap_or(0);
            let age = (clock.wall)().saturating_sub(Duration::from_secs(written));
            judge(&question, found.len(), Duration::from_secs(age.as_secs()))
        }
    }
}

fn judge(question: &FileQuestion, size: u64, age: Duration) -> Answer {
    let FileQuestion { path, max_age, min_size_bytes, max_size_bytes } = question;
    let shown = path.display();
    if let Some(most) = max_age.filter(|most| age > *most) {
        return Err(theirs(format!("{shown} was written {} ago, at most {}", Pretty(age), Pretty(most))));
    }
    if let Some(least) = min_size_bytes.filter(|least| size < *least) {
        return Err(theirs(format!("{shown} has {size} bytes, at least {least} are wanted")));
    }
    if let Some(most) = max_size_bytes.filter(|most| size > *most) {
        return Err(theirs(format!("{shown} has {size} bytes, at most {most} are wanted")));
    }
    Ok(format!("{size} bytes, written {} ago", Pretty(age)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_judged_by_age_and_size() {
        let question = FileQuestion {
            path: "/f".into(),
            max_age: Some(Duration::from_secs(60)),
            min_size_bytes: Some(10),
            max_size_bytes: Some(20),
        };
        let said = |size, age| judge(&question, size, Duration::from_secs(age));
        assert_eq!(said(10, 60), Ok("10 bytes, written 1m ago".to_owned()));
        assert_eq!(said(10, 61), Err(theirs("/f was written 1m1s ago, at most 1m")));
        assert_eq!(said(9, 0), Err(theirs("/f has 9 bytes, at least 10 are wanted")));
        assert_eq!(said(21, 0), Err(theirs("/f has 21 bytes, at most 20 are wanted")));
    }
}
