//! What a folder of documents amounts to.

use std::sync::Arc;

use crate::inventory::Inventory;
use crate::rule::{ClusterPolicy, Policy};
use crate::site::Site;
use crate::subject::{AnySubject, Subject};

/// Where something stands in the text: for errors and lints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Location {
    /// Name of the source (a path, or `<stdin>`); empty for what was not read from text.
    pub source: Arc<str>,
    /// Byte offset into the source.
    pub offset: usize,
    /// Bytes.
    pub length: usize,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
}

/// All documents, typed and cross-checked.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySet<S: Subject = AnySubject> {
    /// `Policy` documents, by namespace and name.
    pub policies: Vec<Policy<S>>,
    /// `ClusterPolicy` documents in the order in which they are consulted: stage, tier order, tier
    /// name, policy order, policy name.
    pub cluster_policies: Vec<ClusterPolicy<S>>,
    /// Everyone known.
    pub inventory: Inventory,
    /// The site; none when no document says.
    pub site: Option<Site<S>>,
}

impl<S: Subject> Default for PolicySet<S> {
    fn default() -> Self {
        Self { policies: Vec::new(), cluster_policies: Vec::new(), inventory: Inventory::default(), site: None }
    }
}
