//! The smallest pieces of a configuration as written: scalars that remember their place, and what may stand beside `off`.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use super::error::Place;
use super::kinds::Kind;
use super::node::{NoList, NoMap, Piece, Scalar, Shape};

/// A scalar as written, before `${NAME}` is replaced and before it is read as a `K`.
#[derive(Debug)]
pub(super) struct Leaf<K> {
    /// The text as written.
    pub(super) text: String,
    /// Where it was written.
    pub(super) place: Place,
    /// YAML took it for a number: `text` may differ from what was written (`0x10`, `1.20`).
    pub(super) is_number: bool,
    kind: PhantomData<K>,
}

impl<K> Leaf<K> {
    /// A scalar given by a flag.
    pub(super) fn from_flag(text: String, flag: &'static str) -> Self {
        Self {
            text,
            place: Place::Flag(flag),
            is_number: false,
            kind: PhantomData,
        }
    }

    fn new(spanned: &Spanned<()>, scalar: Scalar) -> Self {
        let (text, is_number) = match scalar {
            Scalar::Text(text) => (text, false),
            Scalar::Number(text) => (text, true),
        };
        Self {
            text,
            place: place(spanned),
            is_number,
            kind: PhantomData,
        }
    }
}

impl<'de, K: Kind> Deserialize<'de> for Leaf<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Piece<K, NoMap<K>, NoList<K>>>::deserialize(deserializer)?;
        let (value, place) = apart(spanned);
        match value.0 {
            Shape::Scalar(scalar) => Ok(Self::new(&place, scalar)),
            Shape::Map(never) => match never.0 {},
            Shape::List(never) => match never.0 {},
        }
    }
}

impl<K: Kind> JsonSchema for Leaf<K> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        K::expected()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let schema = K::schema();
        if K::FREE_TEXT {
            return schema;
        }
        json_schema!({ "anyOf": [schema, { "type": "string", "pattern": r"\$\{" }] })
    }
}

/// A scalar (most often `off`) or a map.
#[derive(Debug)]
pub(super) enum OrMap<K, M> {
    /// The scalar.
    Scalar(Leaf<K>),
    /// The map and its place.
    Map(M, Place),
}

/// A scalar (most often `off`) or a list.
#[derive(Debug)]
pub(super) enum OrList<K, T> {
    /// The scalar.
    Scalar(Leaf<K>),
    /// The list.
    List(Vec<T>),
}

impl<'de, K: Kind, M: Deserialize<'de>> Deserialize<'de> for OrMap<K, M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Piece<K, M, NoList<K>>>::deserialize(deserializer)?;
        let (value, at) = apart(spanned);
        Ok(match value.0 {
            Shape::Scalar(scalar) => Self::Scalar(Leaf::new(&at, scalar)),
            Shape::Map(map) => Self::Map(map, place(&at)),
            Shape::List(never) => match never.0 {},
        })
    }
}

impl<'de, K: Kind, T: Deserialize<'de>> Deserialize<'de> for OrList<K, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Piece<K, NoMap<K>, Vec<T>>>::deserialize(deserializer)?;
        let (value, at) = apart(spanned);
        Ok(match value.0 {
            Shape::Scalar(scalar) => Self::Scalar(Leaf::new(&at, scalar)),
            Shape::Map(never) => match never.0 {},
            Shape::List(list) => Self::List(list),
        })
    }
}

impl<K: Kind, M: JsonSchema> JsonSchema for OrMap<K, M> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        M::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let scalar = Leaf::<K>::json_schema(generator);
        json_schema!({ "anyOf": [scalar, generator.subschema_for::<M>()] })
    }
}

impl<K: Kind, T: JsonSchema> JsonSchema for OrList<K, T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let scalar = Leaf::<K>::json_schema(generator);
        json_schema!({ "anyOf": [scalar, generator.subschema_for::<Vec<T>>()] })
    }
}

/// A key that may be left out, but not be empty: YAML's null is no value of anything here.
#[derive(Debug)]
pub(super) struct Maybe<T>(pub(super) Option<T>);

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Maybe<T> {
    /// The value if the key is there.
    pub(super) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(|value| Self(Some(value)))
    }
}

impl<T: JsonSchema> JsonSchema for Maybe<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A block (map or list) that remembers its place.
#[derive(Debug)]
pub(super) struct Block<T> {
    /// The block.
    pub(super) value: T,
    /// Where it begins.
    pub(super) place: Place,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Block<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (value, at) = apart(Spanned::<T>::deserialize(deserializer)?);
        Ok(Self {
            value,
            place: place(&at),
        })
    }
}

impl<T: JsonSchema> JsonSchema for Block<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

fn apart<T>(spanned: Spanned<T>) -> (T, Spanned<()>) {
    let at = Spanned {
        value: (),
        referenced: spanned.referenced,
        defined: spanned.defined,
    };
    (spanned.value, at)
}

fn place(at: &Spanned<()>) -> Place {
    Place::File {
        value: at.defined,
        used: at.referenced,
    }
}
