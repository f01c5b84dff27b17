//! A request: a record that is to go through the job again, or the word that a letter is dropped.

use millpond_state::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Headers, Letter, LetterId, Origin};

/// The header that makes a record a request. It stands last, behind those the record came with; whoever wrote it stands first.
pub const REQUEST: &str = "millpond-redrive";

/// What a request says beside the record's own bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The letter it comes from, `partition:offset` in the dead-letter topic.
    pub letter: String,
    /// The source that is to read it.
    pub source: String,
    /// The partition the record lay in when it was read first.
    pub partition: u32,
    /// Its offset there.
    pub offset: u64,
    /// The timestamp its writer gave it.
    pub stamp: Timestamp,
    /// How often the record has been tried so far.
    pub attempt: u32,
    /// The error that it met first.
    pub first_error: String,
    /// Whether nothing is to be done but to let the letter be.
    #[serde(default)]
    pub drop: bool,
    /// Which call asked, and when.
    pub by: String,
    /// When that was.
    pub asked: Timestamp,
    /// The [life](super::Life) of the job whose letter it is: no other one takes it. Not there where that was not known, as earlier
    /// releases never said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<String>,
    /// Whether the letter is of a part of its record, of which there may be several.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub part: bool,
}

impl Request {
    /// A request for a letter of a life.
    #[must_use]
    pub fn new(letter: &Letter, life: Option<&str>, drop: bool, by: &str, asked: Timestamp) -> Self {
        Request {
            letter: letter.id.to_string(),
            source: letter.dead.source.clone(),
            partition: letter.dead.partition,
            offset: letter.dead.offset,
            stamp: letter.at,
            attempt: letter.dead.attempt,
            first_error: letter.first_error().to_owned(),
            drop,
            by: by.to_owned(),
            asked,
            life: life.map(str::to_owned),
            part: !letter.dead.whole,
        }
    }

    /// Which try of which record its letter is of.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let Request { source, partition, offset, attempt, .. } = self;
        Origin { source: source.clone(), partition: *partition, offset: *offset, attempt: *attempt }
    }

    /// Whether it is asked of this life of the job.
    #[must_use]
    pub fn is_of(&self, life: &str) -> bool {
        self.life.as_deref().is_none_or(|of| of == life)
    }

    /// The value of its header.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a request is plain data")
    }

    /// Its letter.
    #[must_use]
    pub fn id(&self) -> LetterId {
        self.letter.parse().unwrap_or_default()
    }

    /// What is a request by its last header.
    #[must_use]
    pub fn parse(last: Option<(&str, &[u8])>) -> Option<Request> {
        let (_, value) = last.filter(|(name, _)| *name == REQUEST)?;
        let request: Request = serde_json::from_slice(value).ok()?;
        request.letter.parse::<LetterId>().ok()?;
        Some(request)
    }
}

/// A request apart from the headers its record came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<H> {
    /// What it says.
    pub request: Request,
    /// The record's own headers.
    pub headers: Vec<H>,
}

impl<H> Opened<H> {
    /// Takes the headers of a record of a topic of requests apart; `None` when it is none.
    pub fn of(mut headers: Vec<H>, parts: impl Fn(&H) -> (&str, &[u8])) -> Option<Self> {
        let request = Request::parse(headers.last().map(&parts))?;
        headers.pop();
        if headers.first().is_some_and(|first| parts(first).0 == "millpond") {
            headers.remove(0);
        }
        Some(Opened { request, headers })
    }
}

impl Opened<(String, Vec<u8>)> {
    /// As [`Opened::of`], of headers that are owned.
    #[must_use]
    pub fn owned(headers: Headers) -> Option<Self> {
        Opened::of(headers, |(name, value)| (name.as_str(), value.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gives_back_the_headers_that_its_record_came_with() {
        let request = Request {
            letter: "0:17".into(),
            source: "clicks".into(),
            partition: 2,
            offset: 5,
            stamp: Timestamp::from_secs(3),
            attempt: 1,
            first_error: "not JSON".into(),
            drop: false,
            by: "a".into(),
            asked: Timestamp::from_secs(9),
            life: Some("7 a".into()),
            part: false,
        };
        let own = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
        let record = vec![own("millpond", b"other@1 r 1"), own(REQUEST, b"one of a job that reads requests")];
        let all =
            [vec![own("millpond", b"views@1.redrive")], record.clone(), vec![own(REQUEST, &request.bytes())]].concat();
        assert_eq!(Opened::owned(all), Some(Opened { request: request.clone(), headers: record.clone() }));
        assert_eq!(request.id(), LetterId { partition: 0, offset: 17 });
        assert_eq!(Opened::owned(record), None, "that is no request of ours");
        assert_eq!(Opened::owned(Vec::new()), None);
    }

    #[test]
    fn a_request_of_an_earlier_release_says_of_no_life_that_it_is_asked_of_it_alone() {
        // As that release wrote it.
        let text = r#"{"letter":"0:17","source":"clicks","partition":2,"offset":5,"stamp":3000000,"attempt":1,"first_error":"not JSON","drop":false,"by":"a","asked":9000000}"#;
        let request = Request::parse(Some((REQUEST, text.as_bytes()))).unwrap();
        assert_eq!((&request.life, request.part, request.is_of("7 a")), (&None, false, true));
        assert_eq!(
            String::from_utf8(request.bytes()).unwrap(),
            text,
            "and so it is written where the life is not known"
        );
        let of = Request { life: Some("7 a".into()), ..request };
        assert!(of.is_of("7 a") && !of.is_of("9 b"));
    }
}
