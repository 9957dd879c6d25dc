//! Maps and sections by the rules.

use std::collections::HashMap;

use super::Changes;
use crate::kinds;
use crate::model::{Map, Section, Slot, Variable};
use crate::rules::{Rule, Verdict};

impl Changes {
    pub(super) fn map(&mut self, name: &str, old: Option<&Map>, new: Option<&Map>) {
        let path = format!("map {name}");
        let (Some(old), Some(new)) = (old, new) else {
            let text = |map: &Map| format!("{} of {} to {}", kinds::name(map.kind), map.key, map.value);
            return self.said(&path, old.map(text), new.map(text), |_| (Verdict::Breaking, Rule::MapType));
        };
        let kind = |map: &Map| Some(kinds::name(map.kind));
        self.said(&format!("{path} type"), kind(old), kind(new), |_| (Verdict::Breaking, Rule::MapType));
        self.slot(&format!("{path} key"), &old.key, &new.key, Rule::Key);
        self.slot(&format!("{path} value"), &old.value, &new.value, Rule::Value);
        let entries = |map: &Map| Some(map.entries.to_string());
        self.said(&format!("{path} entries"), entries(old), entries(new), |_| match new.entries > old.entries {
            false => (Verdict::Breaking, Rule::Shrunk),
            true if old.pinned => (Verdict::Migration, Rule::GrownPinned),
            true => (Verdict::Compatible, Rule::Grown),
        });
        let hexadecimal = |number: u64| Some(format!("{number:#x}"));
        let flags = (Verdict::Breaking, Rule::Flags);
        self.said(&format!("{path} flags"), hexadecimal(old.flags), hexadecimal(new.flags), |_| flags);
        self.said(&format!("{path} extra"), hexadecimal(old.extra), hexadecimal(new.extra), |_| flags);
        self.pinning(&path, old.pinned, new.pinned);
    }

    fn pinning(&mut self, path: &str, old: bool, new: bool) {
        let word = |pinned| Some(if pinned { "pinned" } else { "not pinned" }.to_owned());
        self.said(path, word(old), word(new), |_| match new {
            true => (Verdict::Compatible, Rule::Pinned),
            false => (Verdict::Migration, Rule::Unpinned),
        });
    }

    fn slot(&mut self, path: &str, old: &Slot, new: &Slot, fixed: Rule) {
        // That a record has another size is told where it is declared.
        if old.ty.is_some() && old.ty == new.ty {
            return;
        }
        let (was, is) = (Some(old.to_string()), Some(new.to_string()));
        self.said(path, was, is, |_| match (&old.ty, &new.ty) {
            (None, Some(_)) if old.bytes == new.bytes => (Verdict::Compatible, Rule::Told),
            (Some(_), None) if old.bytes == new.bytes => (Verdict::Breaking, Rule::Untold),
            _ => (Verdict::Breaking, fixed),
        });
    }

    pub(super) fn section(&mut self, name: &str, old: Option<&Section>, new: Option<&Section>) {
        let path = format!("section {name}");
        let (Some(old), Some(new)) = (old, new) else {
            let text = |section: &Section| format!("a section of {} variables", section.variables.len());
            return self.said(&path, old.map(text), new.map(text), |_| (Verdict::Breaking, Rule::Moved));
        };
        self.pinning(&path, old.pinned, new.pinned);
        let by_name = |section: &'_ Section| -> HashMap<String, Variable> {
            section.variables.iter().map(|variable| (variable.name.clone(), variable.clone())).collect()
        };
        let (olds, news) = (by_name(old), by_name(new));
        for variable in &old.variables {
            let now = news.get(&variable.name);
            let retyped = now.is_some_and(|now| now.ty != variable.ty);
            let path = format!("{path} {}", variable.name);
            self.said(&path, Some(variable.to_string()), now.map(Variable::to_string), |_| match retyped {
                true => (Verdict::Breaking, Rule::Retyped),
                false => (Verdict::Migration, Rule::VariableMoved),
            });
        }
        for variable in new.variables.iter().filter(|variable| !olds.contains_key(&variable.name)) {
            let (verdict, rule) = match old.pinned {
                true => (Verdict::Migration, Rule::SectionGrown),
                false => (Verdict::Compatible, Rule::Added),
            };
            self.push(verdict, &format!("{path} {}", variable.name), None, Some(variable.to_string()), rule);
        }
    }
}
