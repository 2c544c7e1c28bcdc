//! The texts of a node list (EIP-1459).

use std::{fmt, str::FromStr};

use alloy_primitives::{B256, keccak256};
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use thiserror::Error;

use crate::{
    key::{SIGNATURE_BYTES, is_compressed_key, is_signed_by},
    record::SignedRecord,
};

/// Longest text that is looked at: DNS answers hardly get longer.
pub(crate) const TEXT_BYTES_MAX: usize = 2_048;
/// Longest domain name (RFC 1035).
const DOMAIN_BYTES_MAX: usize = 253;
/// A label holds at least so much of its text's hash (EIP-1459), or names could be made to match.
const HASH_BYTES_MIN: usize = 12;
const LINK_SCHEME: &str = "enrtree://";
const ROOT_PREFIX: &str = "enrtree-root:v1 ";
const BRANCH_PREFIX: &str = "enrtree-branch:";
const RECORD_PREFIX: &str = "enr:";

/// Why a text is not part of its list. The list's publisher, or whoever answers for DNS, is at
/// fault.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum EntryError {
    #[error("the text is not a root, branch, link or record")]
    Syntax,
    #[error("the root is not signed by the key of the list")]
    Signature,
    #[error("the hash of the text is not the one that its name holds")]
    Hash,
    #[error("the record is not valid")]
    Record,
}

/// `enrtree://<key>@<domain>`: a list and who signs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TreeLink {
    key: [u8; 33],
    pub(crate) domain: String,
}

impl FromStr for TreeLink {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix(LINK_SCHEME).ok_or(EntryError::Syntax)?;
        let (key, domain) = rest.split_once('@').ok_or(EntryError::Syntax)?;
        let key = BASE32_NOPAD.decode(key.as_bytes()).map_err(|_| EntryError::Syntax)?;
        let key = <[u8; 33]>::try_from(key.as_slice()).map_err(|_| EntryError::Syntax)?;
        let sound = !domain.is_empty()
            && domain.len() <= DOMAIN_BYTES_MAX
            && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        if !sound || !is_compressed_key(&key) {
            return Err(EntryError::Syntax);
        }
        Ok(Self { key, domain: domain.to_ascii_lowercase() })
    }
}

impl fmt::Display for TreeLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LINK_SCHEME}{}@{}", BASE32_NOPAD.encode(&self.key), self.domain)
    }
}

/// The beginning of a text's hash, which is the name it is found under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label(String);

impl Label {
    pub(crate) fn parse(text: &str) -> Result<Self, EntryError> {
        let bytes = BASE32_NOPAD.decode(text.as_bytes()).map_err(|_| EntryError::Syntax)?;
        if !(HASH_BYTES_MIN..=B256::len_bytes()).contains(&bytes.len()) {
            return Err(EntryError::Syntax);
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn name_under(&self, domain: &str) -> String {
        format!("{}.{domain}", self.0)
    }

    /// Whether it is the name of this text.
    fn names(&self, text: &str) -> bool {
        let hash = keccak256(text.as_bytes());
        BASE32_NOPAD.decode(self.0.as_bytes()).is_ok_and(|label| hash.starts_with(&label))
    }
}

/// `enrtree-root:v1`: where records and links begin, and which edition this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) records: Label,
    pub(crate) links: Label,
    pub(crate) seq: u64,
}

impl Root {
    /// Reads a root and verifies its signature.
    pub(crate) fn verified(text: &str, link: &TreeLink) -> Result<Self, EntryError> {
        let (signed, signature) = text.split_once(" sig=").ok_or(EntryError::Syntax)?;
        let fields = signed.strip_prefix(ROOT_PREFIX).ok_or(EntryError::Syntax)?;
        let mut fields = fields.split(' ');
        let mut field = |name: &str| {
            fields.next().and_then(|field| field.strip_prefix(name)).ok_or(EntryError::Syntax)
        };
        let (records, links, seq) = (field("e=")?, field("l=")?, field("seq=")?);
        let root = Self {
            records: Label::parse(records)?,
            links: Label::parse(links)?,
            seq: seq.parse().map_err(|_| EntryError::Syntax)?,
        };
        if fields.next().is_some() {
            return Err(EntryError::Syntax);
        }
        let signature =
            BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| EntryError::Signature)?;
        let signature = <[u8; SIGNATURE_BYTES]>::try_from(signature.as_slice())
            .map_err(|_| EntryError::Signature)?;
        let digest = keccak256(signed.as_bytes());
        if is_signed_by(&link.key, digest, &signature) {
            Ok(root)
        } else {
            Err(EntryError::Signature)
        }
    }
}

/// What a name below the root stands for.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Branch(Vec<Label>),
    Link(TreeLink),
    Record(Box<SignedRecord>),
}

impl Entry {
    /// Reads a text that was found under a label, and verifies that it belongs there.
    pub(crate) fn verified(text: &str, label: &Label) -> Result<Self, EntryError> {
        if !label.names(text) {
            return Err(EntryError::Hash);
        }
        if let Some(children) = text.strip_prefix(BRANCH_PREFIX) {
            let children = children.split(',').filter(|child| !child.is_empty());
            return Ok(Self::Branch(children.map(Label::parse).collect::<Result<_, _>>()?));
        }
        if text.starts_with(LINK_SCHEME) {
            return Ok(Self::Link(text.parse()?));
        }
        if text.starts_with(RECORD_PREFIX) {
            let record = SignedRecord::from_text(text).ok_or(EntryError::Record)?;
            return Ok(Self::Record(Box::new(record)));
        }
        Err(EntryError::Syntax)
    }
}
