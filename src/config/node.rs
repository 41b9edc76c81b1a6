//! One node of the document: a scalar, a map or a list, whichever may stand there.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::kinds::Kind;

/// A map where none can stand.
pub(super) struct NoMap<K>(pub(super) Infallible, PhantomData<K>);
/// A list where none can stand.
pub(super) struct NoList<K>(pub(super) Infallible, PhantomData<K>);

impl<'de, K: Kind> Deserialize<'de> for NoMap<K> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(unexpected::<K, _>("a map"))
    }
}

impl<'de, K: Kind> Deserialize<'de> for NoList<K> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(unexpected::<K, _>("a list"))
    }
}

fn unexpected<K: Kind, E: de::Error>(found: &str) -> E {
    E::custom(format_args!("found {found}: write {}", K::expected()))
}

/// A scalar as YAML takes it.
pub(super) enum Scalar {
    Text(String),
    Number(String),
}

/// What a node turned out to be.
pub(super) enum Shape<M, L> {
    Scalar(Scalar),
    Map(M),
    List(L),
}

/// One node: a scalar of kind `K`, or a map `M`, or a list `L`.
pub(super) struct Piece<K, M, L>(pub(super) Shape<M, L>, PhantomData<K>);

impl<'de, K: Kind, M: Deserialize<'de>, L: Deserialize<'de>> Deserialize<'de> for Piece<K, M, L> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(PieceVisitor::<K, M, L>(PhantomData))
            .map(|shape| Self(shape, PhantomData))
    }
}

struct PieceVisitor<K, M, L>(PhantomData<(K, M, L)>);

impl<'de, K: Kind, M: Deserialize<'de>, L: Deserialize<'de>> Visitor<'de>
    for PieceVisitor<K, M, L>
{
    type Value = Shape<M, L>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&K::expected())
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Shape::Scalar(Scalar::Text(text.to_owned())))
    }
    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Shape::Scalar(Scalar::Text(value.to_string())))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Shape::Scalar(Scalar::Number(value.to_string())))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Shape::Scalar(Scalar::Number(value.to_string())))
    }
    fn visit_u128<E>(self, value: u128) -> Result<Self::Value, E> {
        Ok(Shape::Scalar(Scalar::Number(value.to_string())))
    }
    fn visit_i128<E>(self, value: i128) -> Result<Self::Value, E> {
        Ok(Shape::Scalar(Scalar::Number(value.to_string())))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Shape::Scalar(Scalar::Number(value.to_string())))
    }
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Err(E::custom(format_args!(
            "this key has no value: remove the key, or write {}",
            K::expected()
        )))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        M::deserialize(de::value::MapAccessDeserializer::new(map)).map(Shape::Map)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        L::deserialize(de::value::SeqAccessDeserializer::new(seq)).map(Shape::List)
    }
}
