//! Answers to "why", from the policy in force.

use gabion_policy_explain::{Answer, Directory, Oracle, Query, explain, verdict};
use gabion_policy_model::PolicySet;

use crate::api::wire::Problem;
use crate::life::problem;

/// Explains the packet that these parameters describe; names as on the command line.
pub fn answer(set: &PolicySet, parameters: &[(String, String)]) -> Result<Answer, Problem> {
    let refused = |message: String| problem("query", "input", message);
    let mut fields = serde_json::Map::new();
    for (name, value) in parameters {
        // The command line writes `src-mac`, programs `srcMac`; both mean the same here.
        if fields.insert(camel_case(name), value.clone().into()).is_some() {
            return Err(refused(format!("{name} is given twice")));
        }
    }
    let text = serde_json::Value::Object(fields).to_string();
    let query: Query<'_> = serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
    let directory = Directory::new(set);
    let packet = directory.packet(&query).map_err(|error| refused(error.to_string()))?;
    let verdict = verdict(&Oracle(set), &directory, &packet);
    Ok(explain(set, &directory, &packet, &verdict))
}

fn camel_case(name: &str) -> String {
    let mut parts = name.split('-');
    let mut joined = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let mut characters = part.chars();
        joined.extend(characters.next().map(|first| first.to_ascii_uppercase()));
        joined.push_str(characters.as_str());
    }
    joined
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&str, &str)]) -> Result<Answer, Problem> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        answer(&PolicySet::default(), &pairs)
    }

    #[test]
    fn numbers_may_stand_as_words() {
        let answer = asked(&[("src", "10.0.0.1"), ("dst", "10.0.0.2"), ("proto", "tcp"), ("dport", "502")]).unwrap();
        assert_eq!(answer.verdict, "allow");
        assert_eq!(answer.rule, "default/ingress");
    }

    #[test]
    fn what_is_no_question_is_refused_with_the_reason() {
        assert!(asked(&[("colour", "blue")]).unwrap_err().message.contains("colour"));
        assert!(asked(&[("src", "10.0.0.1"), ("src", "10.0.0.2")]).unwrap_err().message.contains("twice"));
        assert!(asked(&[("src", "nobody"), ("dst", "10.0.0.2")]).unwrap_err().message.contains("nobody"));
    }
}
