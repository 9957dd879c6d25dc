//! What a change is, and what follows from it.

use std::fmt;

/// What a change means for who has the older version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing: all that was there means the same.
    Compatible,
    /// What is kept has to be carried over, or who maps it be built again.
    Migration,
    /// Bytes would be taken for something else.
    Breaking,
}

impl Verdict {
    /// One word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Compatible => "compatible",
            Self::Migration => "migration",
            Self::Breaking => "breaking",
        }
    }
}

/// One difference of two versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it means.
    pub verdict: Verdict,
    /// What changed: `ConnValue.seen_ns`, `map LOCAL entries`, `enum reason.rule`.
    pub path: String,
    /// What was there, if anything was.
    pub was: Option<String>,
    /// What is there now, if anything is.
    pub is: Option<String>,
    /// Why it means that.
    pub rule: Rule,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verdict, path, was, is, rule } = self;
        let word = |said: &Option<String>| said.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{}: {path}: was {}, is {} ({rule})", verdict.word(), word(was), word(is))
    }
}

macro_rules! rules {
    ($($(#[doc = $doc:literal])* $name:ident $code:literal $text:literal;)*) => {
        /// A rule of compatibility.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            $($(#[doc = $doc])* $name,)*
        }

        impl Rule {
            /// A stable word for programs.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }

        impl fmt::Display for Rule {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

rules! {
    /// Something is there that was not.
    Added "added" "what is new is in nobody's way";
    /// A field behind all others.
    Appended "appended" "fields may be appended";
    /// A field behind all others of what is kept.
    AppendedPinned "appended-pinned" "what is pinned has entries of the old size, which have to be carried over";
    /// A field behind all others of a key.
    AppendedKey "appended-key" "a key is compared with all its bytes, and is fixed";
    /// A field behind all others of the element of an array.
    AppendedElement "appended-element" "it lies in an array, whose other elements move";
    /// A field between others.
    Inserted "inserted" "fields are appended only";
    /// A field, map or what else that is gone.
    Deleted "deleted" "nothing is deleted";
    /// Another name at the same place.
    Renamed "renamed" "nothing is renamed";
    /// A field at another place.
    Moved "moved" "a field keeps its place";
    /// A field of another type, width or unit.
    Retyped "retyped" "a field keeps its type";
    /// A struct, union or enum that became another one, or got another size with the same fields.
    Resized "resized" "a type keeps its size and kind, but for what is appended";
    /// An alignment that is less than it was.
    Alignment "alignment" "who reads it may rely on its alignment";
    /// Bytes of another order.
    Order "byte-order" "all numbers would be read the other way round";
    /// A version that somebody raised.
    Meaning "meaning" "a version is raised when something means something else";
    /// A service of another payload.
    Payload "payload" "a service keeps its payload";
    /// A map of another type.
    MapType "map-type" "a map keeps its type";
    /// Another key.
    Key "key" "a map keeps the type of its key";
    /// Another value.
    Value "value" "a map keeps the type of its value";
    /// Other flags.
    Flags "flags" "a map keeps its flags";
    /// More entries.
    Grown "entries-grown" "a map may grow";
    /// More entries of what is kept.
    GrownPinned "entries-grown-pinned" "a pinned map does not grow in place: its entries have to be carried over";
    /// Fewer entries.
    Shrunk "entries-shrunk" "a map does not shrink";
    /// Now pinned.
    Pinned "pinned" "what was not kept is kept from now on";
    /// No longer pinned.
    Unpinned "unpinned" "what was kept stays behind, and has to be carried over or removed";
    /// A type that was not known.
    Told "told" "a type that was not said is said now, of the same size";
    /// A type that is no longer known.
    Untold "untold" "a type is no longer said, so that it cannot be held to the rules";
    /// A number that means something else.
    Renumbered "renumbered" "a name keeps its number";
    /// A number that already had a name.
    Reused "reused" "a number is never used again";
    /// A variable at another place, of a section that programs write.
    VariableMoved "variable-moved" "who maps the section by place has to be built again";
    /// A variable more in a section that is kept.
    SectionGrown "section-grown" "the section is pinned at its old size, and has to be carried over";
}
