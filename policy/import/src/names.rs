//! What may be a name in policy text, and which known name a misspelt one was meant to be.

/// Bytes of a rule's name.
pub(crate) const RULE_NAME_LIMIT: usize = 100;

/// A text made fit for the name of a rule, at most `limit` bytes long; `otherwise` when nothing is left.
pub(crate) fn fit(text: &str, limit: usize, otherwise: &str) -> String {
    let safe: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .take(limit)
        .collect();
    let trimmed = safe.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if trimmed.is_empty() { otherwise.to_owned() } else { trimmed.to_owned() }
}

/// A text made fit for the name of a document.
pub(crate) fn fit_document(text: &str, otherwise: &str) -> String {
    let lower = text.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    fit(&lower, 63, otherwise)
}

/// The nearest of `known` within a third of the name's length, for "did you mean".
pub(crate) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    // Longer names cannot be near any known one, and the distance costs their square.
    if name.len() > 64 {
        return None;
    }
    let limit = (name.chars().count() / 3).max(1);
    known
        .iter()
        .map(|&candidate| (distance(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, &a) in from.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, &b) in to.iter().enumerate() {
            let mut best = (row[j] + usize::from(a != b)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a == to[j - 1] && from[i - 1] == b {
                best = best.min(before[j - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn swapped_letters_and_wrong_case_are_near_and_strangers_are_not() {
        let known = ["podSelector", "namespaceSelector", "ipBlock"];
        assert_eq!(nearest("podSelecotr", &known), Some("podSelector"));
        assert_eq!(nearest("ipblock", &known), Some("ipBlock"));
        assert_eq!(nearest("cheese", &known), None);
    }
}
