//! A shape while it is being traced.

use std::borrow::Cow;

use super::Shape;

/// A part of the type, and what to do about it in the next pass.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// An optional part or element that could not be built while so many endings were known.
    pub(super) avoided: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) enum Kind {
    #[default]
    Unseen,
    Unit,
    Plain(&'static str),
    Option(Box<Node>),
    Seq(Box<Node>),
    Map(Box<[Node; 2]>),
    Tuple(Vec<Node>),
    Newtype(&'static str, Box<Node>),
    Struct(&'static str, &'static [&'static str], Vec<Node>),
    Enum(&'static str, Vec<Variant>),
    Again(&'static str),
    Opaque(&'static str),
}

#[derive(Debug)]
pub(super) struct Variant {
    name: &'static str,
    pub(super) node: Node,
    /// A value of it was built.
    pub(super) built: bool,
    /// None could be built while so many endings were known.
    pub(super) failed: Option<usize>,
}

impl Variant {
    /// Whether a pass that takes this variant finds something new.
    pub(super) fn is_open(&self, known: usize) -> bool {
        self.failed != Some(known) && (!self.built || self.node.is_open(known))
    }
}

// Each of these makes the node what the type asks for, unless an earlier pass has, and gives its parts.
impl Node {
    pub(super) fn option(&mut self) -> &mut Node {
        if !matches!(self.kind, Kind::Option(_)) {
            self.kind = Kind::Option(Box::default());
        }
        match &mut self.kind {
            Kind::Option(of) => of,
            _ => unreachable!("just made"),
        }
    }

    pub(super) fn seq(&mut self) -> &mut Node {
        if !matches!(self.kind, Kind::Seq(_)) {
            self.kind = Kind::Seq(Box::default());
        }
        match &mut self.kind {
            Kind::Seq(of) => of,
            _ => unreachable!("just made"),
        }
    }

    pub(super) fn map(&mut self) -> &mut [Node] {
        if !matches!(self.kind, Kind::Map(_)) {
            self.kind = Kind::Map(Box::default());
        }
        match &mut self.kind {
            Kind::Map(parts) => &mut parts[..],
            _ => unreachable!("just made"),
        }
    }

    pub(super) fn newtype(&mut self, name: &'static str) -> &mut Node {
        if !matches!(self.kind, Kind::Newtype(..)) {
            self.kind = Kind::Newtype(name, Box::default());
        }
        match &mut self.kind {
            Kind::Newtype(_, of) => of,
            _ => unreachable!("just made"),
        }
    }

    pub(super) fn tuple(&mut self, len: usize) -> &mut [Node] {
        if !matches!(&self.kind, Kind::Tuple(parts) if parts.len() == len) {
            self.kind = Kind::Tuple((0..len).map(|_| Node::default()).collect());
        }
        match &mut self.kind {
            Kind::Tuple(parts) => parts,
            _ => unreachable!("just made"),
        }
    }

    pub(super) fn fields(&mut self, name: &'static str, names: &'static [&'static str]) -> &mut [Node] {
        if !matches!(&self.kind, Kind::Struct(_, of, _) if *of == names) {
            self.kind = Kind::Struct(name, names, names.iter().map(|_| Node::default()).collect());
        }
        match &mut self.kind {
            Kind::Struct(_, _, parts) => parts,
            _ => unreachable!("just made"),
        }
    }

    pub(super) fn variants(&mut self, name: &'static str, names: &'static [&'static str]) -> &mut [Variant] {
        if !matches!(self.kind, Kind::Enum(..)) {
            let variant = |&name| Variant { name, node: Node::default(), built: false, failed: None };
            self.kind = Kind::Enum(name, names.iter().map(variant).collect());
        }
        match &mut self.kind {
            Kind::Enum(_, variants) => variants,
            _ => unreachable!("just made"),
        }
    }

    /// Whether another pass finds a variant that none has taken yet.
    pub(super) fn is_open(&self, known: usize) -> bool {
        match &self.kind {
            Kind::Option(of) | Kind::Seq(of) => self.avoided != Some(known) && of.is_open(known),
            Kind::Map(parts) => self.avoided != Some(known) && parts.iter().any(|part| part.is_open(known)),
            Kind::Newtype(_, of) => of.is_open(known),
            Kind::Tuple(parts) | Kind::Struct(_, _, parts) => parts.iter().any(|part| part.is_open(known)),
            Kind::Enum(_, variants) => variants.iter().any(|variant| variant.is_open(known)),
            Kind::Unseen | Kind::Unit | Kind::Plain(_) | Kind::Again(_) | Kind::Opaque(_) => false,
        }
    }

    pub(super) fn into_shape(self) -> Shape {
        match self.kind {
            Kind::Unseen => Shape::Unknown,
            Kind::Unit => Shape::Unit,
            Kind::Plain(name) => Shape::Plain(name.into()),
            Kind::Option(of) => Shape::Option(Box::new(of.into_shape())),
            Kind::Seq(of) => Shape::Seq(Box::new(of.into_shape())),
            Kind::Map(parts) => {
                let [key, value] = parts.map(|part| Box::new(part.into_shape()));
                Shape::Map(key, value)
            }
            Kind::Tuple(parts) => Shape::Tuple(parts.into_iter().map(Node::into_shape).collect()),
            Kind::Newtype(name, of) => Shape::Newtype(name.into(), Box::new(of.into_shape())),
            Kind::Struct(name, names, parts) => {
                let fields = names.iter().zip(parts).map(|(&name, part)| (name.into(), part.into_shape()));
                Shape::Struct { name: name.into(), fields: fields.collect() }
            }
            Kind::Enum(name, variants) => {
                let variants = variants.into_iter().map(|variant| (variant.name.into(), variant.node.into_shape()));
                Shape::Enum { name: name.into(), variants: variants.collect() }
            }
            Kind::Again(name) => Shape::Again(name.into()),
            Kind::Opaque(of) => Shape::Opaque(readable(of)),
        }
    }
}

/// A type's name without what stands around it: a field's `Option`, or serde's own type for a field with a function.
fn readable(of: &'static str) -> Cow<'static, str> {
    let of = of.strip_prefix("core::option::Option<").and_then(|of| of.strip_suffix('>')).unwrap_or(of);
    if of.contains("__DeserializeWith") { "read by `deserialize_with`".into() } else { of.into() }
}
