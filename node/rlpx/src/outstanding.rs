//! Which of our requests are out on a session, under the ids that the wire knows.

use std::collections::BTreeMap;

use moorline_messages::{FetchItems, RequestId};

use crate::ConnectionError;

/// Most requests remembered as unanswered. The oldest is forgotten beyond that; its answer, should it
/// still come, is a stray.
const MAX_OUTSTANDING: usize = 256;
/// Most answers to forgotten or answered requests, less one for each good answer, before they are a
/// flood.
const MAX_STRAYS: u32 = 64;

/// The two kinds of answer that we ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Headers,
    Bodies,
}

#[derive(Debug)]
struct Asked {
    request: RequestId,
    kind: Kind,
    limit: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    issued: u64,
    asked: BTreeMap<u64, Asked>,
    strays: u32,
}

impl Outstanding {
    /// Takes note of a request and gives it an id for the wire.
    pub(crate) fn ask(&mut self, request: RequestId, items: &FetchItems) -> u64 {
        let (kind, limit) = match items {
            FetchItems::Headers { limit, .. } => {
                (Kind::Headers, usize::try_from(*limit).unwrap_or(usize::MAX))
            }
            FetchItems::Bodies { blocks } => (Kind::Bodies, blocks.len()),
        };
        self.issued = self.issued.saturating_add(1);
        self.asked.insert(self.issued, Asked { request, kind, limit });
        if self.asked.len() > MAX_OUTSTANDING {
            self.asked.pop_first();
        }
        self.issued
    }

    /// Matches an answer of so many items: whose request it is, or nobody's any more. An answer that
    /// no honest peer gives is an error.
    pub(crate) fn answered(
        &mut self,
        id: u64,
        kind: Kind,
        count: usize,
    ) -> Result<Option<RequestId>, ConnectionError> {
        let breach = |text: String| Err(ConnectionError::Breach(text));
        let Some(asked) = self.asked.remove(&id) else {
            if id == 0 || id > self.issued {
                return breach(format!("an answer to request {id}, which was never made"));
            }
            self.strays = self.strays.saturating_add(1);
            if self.strays > MAX_STRAYS {
                return breach("a flood of answers to requests that are over".to_owned());
            }
            return Ok(None);
        };
        if asked.kind != kind {
            return breach(format!("{kind:?} in answer to a request for {:?}", asked.kind));
        }
        if count > asked.limit {
            return breach(format!("{count} items in answer to a request for {}", asked.limit));
        }
        self.strays = self.strays.saturating_sub(1);
        Ok(Some(asked.request))
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use alloy_primitives::B256;
    use moorline_messages::{BlockNumHash, HashOrNumber};

    use super::*;

    fn headers(limit: u64) -> FetchItems {
        FetchItems::Headers { top: HashOrNumber::Number(9), limit }
    }

    fn bodies(count: usize) -> FetchItems {
        FetchItems::Bodies { blocks: vec![BlockNumHash::new(1, B256::ZERO); count] }
    }

    #[test]
    fn answers_find_their_requests_in_any_order() {
        let mut outstanding = Outstanding::default();
        let first = outstanding.ask(RequestId(70), &headers(3));
        let second = outstanding.ask(RequestId(71), &bodies(2));
        assert_eq!(outstanding.answered(second, Kind::Bodies, 2), Ok(Some(RequestId(71))));
        assert_eq!(outstanding.answered(first, Kind::Headers, 0), Ok(Some(RequestId(70))));
    }

    #[test]
    fn answers_that_no_honest_peer_gives_are_breaches() {
        let mut outstanding = Outstanding::default();
        let id = outstanding.ask(RequestId(1), &headers(3));
        assert!(outstanding.answered(id, Kind::Headers, 4).is_err(), "more than asked for");
        let id = outstanding.ask(RequestId(2), &headers(3));
        assert!(outstanding.answered(id, Kind::Bodies, 1).is_err(), "another kind");
        assert!(outstanding.answered(id + 1, Kind::Headers, 1).is_err(), "never asked");
        assert!(outstanding.answered(0, Kind::Headers, 1).is_err(), "never asked");
    }

    #[test]
    fn a_repeated_answer_is_ignored_and_a_flood_of_them_is_not() {
        let mut outstanding = Outstanding::default();
        let id = outstanding.ask(RequestId(1), &headers(3));
        outstanding.answered(id, Kind::Headers, 1).unwrap();
        for _ in 0..MAX_STRAYS {
            assert_eq!(outstanding.answered(id, Kind::Headers, 1), Ok(None));
        }
        assert!(outstanding.answered(id, Kind::Headers, 1).is_err());
    }

    #[test]
    fn memory_of_requests_is_bounded_and_a_late_answer_is_ignored() {
        let mut outstanding = Outstanding::default();
        let first = outstanding.ask(RequestId(0), &headers(3));
        for request in 1..=u64::try_from(MAX_OUTSTANDING).unwrap() {
            outstanding.ask(RequestId(request), &headers(3));
        }
        assert_eq!(outstanding.asked.len(), MAX_OUTSTANDING);
        assert_eq!(outstanding.answered(first, Kind::Headers, 3), Ok(None));
    }
}
