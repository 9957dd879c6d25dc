//! What is wrong, or looks wrong, with policy text: one form for errors and lints.

use std::borrow::Cow;
use std::fmt;

pub use crate::report::Report;
use crate::set::Location;

/// Whether a policy with this finding can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but means less than it seems to.
    Warning,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal $severity:ident),* $(,)?) => {
        /// Stable codes. Numbers are never used again for something else.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Code {
            /// All codes in order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As written, `GABION-P001`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What it stands for, in a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)* }
            }

            /// Severity of all findings of this code.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    /// The text is not YAML.
    Syntax = "GABION-P001" Error,
    /// The text is larger or deeper than is read.
    TooLarge = "GABION-P002" Error,
    /// Anchors, aliases and tags are not used in policies.
    Alias = "GABION-P003" Error,
    /// A key stands twice in one map.
    DuplicateKey = "GABION-P004" Error,
    /// A key is not text.
    KeyNotText = "GABION-P005" Error,
    /// A key that does not exist here.
    UnknownKey = "GABION-P006" Error,
    /// A key that must be there is missing.
    MissingKey = "GABION-P007" Error,
    /// A value of the wrong type.
    WrongType = "GABION-P008" Error,
    /// A key without a value.
    NoValue = "GABION-P009" Error,
    /// Not one of the words that can stand here.
    UnknownWord = "GABION-P010" Error,
    /// A number outside its limits.
    OutOfRange = "GABION-P011" Error,
    /// An empty list where one thing is needed.
    EmptyList = "GABION-P012" Error,
    /// No documents at all.
    NoDocuments = "GABION-P013" Error,
    /// Another version of the policy language.
    ApiVersion = "GABION-P014" Error,
    /// Not a kind of document.
    Kind = "GABION-P015" Error,
    /// Bytes that are not UTF-8.
    NotUtf8 = "GABION-P016" Error,
    /// A name with characters or a length that names do not have.
    Name = "GABION-P017" Error,
    /// A label key or value that Kubernetes would refuse.
    Label = "GABION-P018" Error,
    /// Not a SPIFFE ID.
    SpiffeId = "GABION-P019" Error,
    /// Not an address block.
    Cidr = "GABION-P020" Error,
    /// An address block with host bits set.
    HostBits = "GABION-P021" Error,
    /// An exception outside its block.
    Except = "GABION-P022" Error,
    /// Not a MAC address.
    Mac = "GABION-P023" Error,
    /// Not an interface name.
    Interface = "GABION-P024" Error,
    /// Not an IP address.
    Address = "GABION-P025" Error,
    /// Not a port, a range of ports or the name of one.
    Port = "GABION-P026" Error,
    /// Not an IP protocol.
    Protocol = "GABION-P027" Error,
    /// Not an EtherType.
    EtherType = "GABION-P028" Error,
    /// Not an ICMP type and code.
    Icmp = "GABION-P029" Error,
    /// Not a VLAN.
    Vlan = "GABION-P030" Error,
    /// Not a combination of TCP flags.
    TcpFlags = "GABION-P031" Error,
    /// Not an LLC service access point.
    Llc = "GABION-P032" Error,
    /// Fields of a service that no packet has together.
    Contradiction = "GABION-P033" Error,
    /// Not exactly one kind of subject.
    Subject = "GABION-P034" Error,
    /// Two things with one name.
    DuplicateName = "GABION-P035" Error,
    /// Documents of one tier that disagree about its place.
    Tier = "GABION-P036" Error,
    /// `pass` where there is no next tier.
    Pass = "GABION-P037" Error,
    /// More than one `Site`.
    SecondSite = "GABION-P038" Error,
    /// A name that verdicts already use for something else.
    ReservedName = "GABION-P039" Error,
    /// A label test with values that it does not take, or without those that it needs.
    LabelTest = "GABION-P040" Error,
    /// Something in a deny list that does more than deny.
    NotADenial = "GABION-P041" Error,
    /// More findings than are shown.
    TooManyFindings = "GABION-P099" Error,
    /// A rule that an earlier rule of the same ordered list covers entirely.
    Shadowed = "GABION-P101" Warning,
    /// A rule that no packet can match.
    NeverMatches = "GABION-P102" Warning,
    /// A subject that no inventory entry carries.
    NobodyCarries = "GABION-P103" Warning,
    /// An allow and a deny in one tier that overlap: their order decides.
    Overlap = "GABION-P104" Warning,
    /// An interface that the site does not list.
    UnknownInterface = "GABION-P105" Warning,
    /// A document that changes nothing.
    NoEffect = "GABION-P106" Warning,
    /// A part of a service that no packet can match.
    PartlyContradictory = "GABION-P107" Warning,
    /// No fail-safe port: a mistake in a policy can lock its owner out.
    NoFailsafe = "GABION-P108" Warning,
    /// Something about the interface that a packet leaves by, which is unknown where forwarded packets are judged.
    LeavesLater = "GABION-P109" Warning,
    /// Lints that stopped at their limit.
    LintsStopped = "GABION-P199" Warning,
}

/// Another place that belongs to a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// Where.
    pub location: Location,
    /// What is there.
    pub label: String,
}

/// One thing that is wrong, with its place and its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// What is wrong, with the value and the limit.
    pub message: String,
    /// Where.
    pub location: Location,
    /// The offending text, shortened to [`EXCERPT_LIMIT`] bytes.
    pub text: String,
    /// What to say at the place itself.
    pub label: Option<String>,
    /// What to do.
    pub help: Option<String>,
    /// Other places that belong to it.
    pub related: Vec<Related>,
}

/// Bytes of offending text that a finding keeps.
pub const EXCERPT_LIMIT: usize = 120;

impl Finding {
    /// A finding without label, help and related places.
    #[must_use]
    pub fn new(code: Code, location: Location, message: impl Into<String>) -> Self {
        let (text, label, help, related) = (String::new(), None, None, Vec::new());
        Self { code, message: message.into(), location, text, label, help, related }
    }

    /// With what to say at the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// With what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With another place.
    #[must_use]
    pub fn related(mut self, location: Location, label: impl Into<String>) -> Self {
        self.related.push(Related { location, label: label.into() });
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location { source, line, column, .. } = &self.location;
        if !source.is_empty() {
            write!(f, "{source}:")?;
            if *line > 0 {
                write!(f, "{line}:{column}:")?;
            }
            f.write_str(" ")?;
        }
        let severity = match self.code.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}[{}]: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for Finding {}

/// Offending text as a finding keeps it.
pub(crate) fn excerpt(text: &str) -> String {
    text[..text.floor_char_boundary(EXCERPT_LIMIT)].to_owned()
}

/// A value as a message quotes it: shortened, control characters escaped.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len().min(64) + 2);
    quoted.push('`');
    for (count, c) in text.chars().enumerate() {
        if count == 60 {
            quoted.push('…');
            break;
        }
        if c.is_control() { quoted.extend(c.escape_default()) } else { quoted.push(c) }
    }
    quoted.push('`');
    quoted
}

/// A list of words as a message writes it.
pub(crate) fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The word that was probably meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let folded = fold(word);
    let distance = |candidate: &str| strsim::damerau_levenshtein(&folded, &fold(candidate));
    let (best, apart) = known.into_iter().map(|candidate| (candidate, distance(candidate))).min_by_key(|&(_, d)| d)?;
    (apart <= (word.chars().count() / 3).max(1)).then_some(best)
}

fn fold(word: &str) -> Cow<'_, str> {
    if word.contains(|c: char| c.is_uppercase() || c == '-' || c == '_') {
        Cow::Owned(word.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect())
    } else {
        Cow::Borrowed(word)
    }
}
