//! Parameters, read strictly: from V3 on they must match the structure exactly, and a null counts as
//! absent (execution-apis, `engine/cancun.md`). Older versions are held to the same.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use jsonrpsee::types::{ErrorObjectOwned, Params, params::ParamsSequence};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::errors::invalid_params;

/// The parameters of a call, taken one after another.
pub(crate) struct Arguments<'a> {
    rest: ParamsSequence<'a>,
}

impl<'a> Arguments<'a> {
    pub(crate) fn of(params: &'a Params<'_>) -> Result<Self, ErrorObjectOwned> {
        if params.is_object() {
            return Err(invalid_params("parameters must be an array"));
        }
        Ok(Self { rest: params.sequence() })
    }

    /// The next parameter as it stands; `None` where it is null or absent.
    pub(crate) fn optional(&mut self) -> Result<Option<&'a RawValue>, ErrorObjectOwned> {
        self.rest
            .optional_next::<&RawValue>()
            .map_err(|_| invalid_params("parameters must be an array"))
    }

    /// The next parameter as it stands, which must be there.
    pub(crate) fn required(&mut self, name: &str) -> Result<&'a RawValue, ErrorObjectOwned> {
        self.optional()?.ok_or_else(|| invalid_params(format_args!("{name} is missing")))
    }

    /// The next parameter, which must be there.
    pub(crate) fn read<T: Deserialize<'a>>(&mut self, name: &str) -> Result<T, ErrorObjectOwned> {
        read(self.required(name)?, name)
    }

    /// No more parameters may follow, but for nulls.
    pub(crate) fn end(mut self) -> Result<(), ErrorObjectOwned> {
        while let Ok(raw) = self.rest.next::<&RawValue>() {
            if raw.get() != "null" {
                return Err(invalid_params("there are too many parameters"));
            }
        }
        Ok(())
    }
}

/// Reads a parameter.
pub(crate) fn read<'a, T: Deserialize<'a>>(
    raw: &'a RawValue,
    name: &str,
) -> Result<T, ErrorObjectOwned> {
    serde_json::from_str(raw.get()).map_err(|error| invalid_params(format_args!("{name}: {error}")))
}

/// Which of the `known` fields an object has. Fails if it has others, or is no object.
pub(crate) fn fields(
    raw: &RawValue,
    known: &[&'static str],
) -> Result<BTreeSet<&'static str>, serde_json::Error> {
    FieldNames(known).deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
}

/// Reads the names of an object's fields and skips their values.
struct FieldNames<'k>(&'k [&'static str]);

impl<'de> DeserializeSeed<'de> for FieldNames<'_> {
    type Value = BTreeSet<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FieldNames<'_> {
    type Value = BTreeSet<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = BTreeSet::new();
        while let Some((name, value)) = map.next_entry::<Cow<'_, str>, Option<IgnoredAny>>()? {
            let known = self.0.iter().find(|known| **known == name);
            match (known, value) {
                (_, None) => {}
                (Some(known), Some(_)) => {
                    found.insert(*known);
                }
                (None, Some(_)) => {
                    return Err(A::Error::custom(format_args!("field {name} is not expected")));
                }
            }
        }
        Ok(found)
    }
}
