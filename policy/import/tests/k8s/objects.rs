//! Objects in all their forms, what becomes of them, and what is only warned about.

use gabion_policy_import::{Imported, Source, import_k8s};

fn import(text: &str) -> Imported {
    import_k8s(&[Source { name: "all.yaml", text }])
        .unwrap_or_else(|errors| panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}

fn warnings(text: &str) -> Vec<String> {
    import(text).warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn json_as_kubectl_prints_it() {
    let imported = import(
        "{\n\t\"apiVersion\": \"v1\",\n\t\"items\": [\n\t\t{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": \
         {\"name\": \"a\", \"namespace\": \"x\", \"labels\": {\"app\": \"we\\/b\"}, \
         \"annotations\": {\"k\": \"v: w\"}}, \"spec\": \
         {\"containers\": [{\"name\": \"c\", \"ports\": [{\"containerPort\": 80, \"name\": \"http\"}]}]}, \"status\": \
         {\"podIP\": \"10.0.0.1\"}}\n\t],\n\t\"kind\": \"List\", \"metadata\": {\"resourceVersion\": \"\"}\n}\n"
            .replace("we\\/b", "web")
            .as_str(),
    );
    let entry = &imported.policies.inventory.entries[0];
    assert_eq!((entry.name.as_str(), entry.namespace.as_str(), entry.labels["app"].as_str()), ("a", "x", "web"));
    assert_eq!((entry.ports[0].name.as_str(), entry.ports[0].protocol, entry.ports[0].port), ("http", 6, 80));
    assert_eq!(entry.service_account.as_deref(), Some("default"));
}

#[test]
fn elements_of_a_typed_list_need_no_kind() {
    let imported = import(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicyList\nitems:\n- metadata: {name: p, namespace: x}\n  spec: {}\n",
    );
    assert_eq!(imported.policies.policies[0].name, "p");
    assert!(imported.policies.policies[0].ingress.is_some() && imported.policies.policies[0].egress.is_none());
}

#[test]
fn policies_are_in_order_whatever_the_order_of_the_text() {
    let policy = |ns: &str, name: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: {ns}}}\n"
        )
    };
    let text = [policy("z", "a"), policy("x", "b"), policy("x", "a")].concat();
    let names: Vec<_> = import(&text).policies.policies.iter().map(|p| format!("{}/{}", p.namespace, p.name)).collect();
    assert_eq!(names, ["x/a", "x/b", "z/a"]);
}

#[test]
fn rules_are_named_by_their_place() {
    let imported = import(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\nspec:\n  ingress: [{}, {}]\n  egress:\n  - {}\n",
    );
    let policy = &imported.policies.policies[0];
    let rules = policy.ingress.iter().chain(&policy.egress).flatten();
    let places: Vec<_> = rules.map(|rule| (rule.name.clone(), rule.location.line)).collect();
    assert_eq!(places, [("ingress-0".to_owned(), 5), ("ingress-1".to_owned(), 5), ("egress-0".to_owned(), 7)]);
}

#[test]
fn kinds_that_do_not_matter_are_left_out_with_their_names() {
    let deployments: String = ["a", "b"]
        .iter()
        .map(|name| {
            format!("---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec: {{anything: 1}}\n")
        })
        .collect();
    let messages = warnings(&(deployments + "---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\n"));
    assert_eq!(
        messages,
        [
            "all.yaml:2:1: 2 Deployment left out (a, b): `apiVersion: apps/v1`; this kind says nothing about which packets pass",
            "all.yaml:12:1: 1 Service left out (s): `apiVersion: v1`; this kind says nothing about which packets pass",
        ]
    );
}

fn pod(name: &str, spec: &str, status: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: x}}\nspec: {{{spec}}}\nstatus: {{{status}}}\n"
    )
}

#[test]
fn pods_on_the_hosts_network_are_selected_by_nobody() {
    let imported = import(&pod("a", "hostNetwork: true", "podIP: 192.0.2.1"));
    assert!(imported.policies.inventory.entries.is_empty());
    assert!(imported.warnings[0].to_string().contains("pod x/a is on the host's network"), "{}", imported.warnings[0]);
    assert_eq!(import(&pod("a", "hostNetwork: false", "podIP: 192.0.2.1")).policies.inventory.entries.len(), 1);
    // The other ways of YAML to write it; the API server reads them all as true.
    assert!(import(&pod("a", "hostNetwork: True", "podIP: 192.0.2.1")).policies.inventory.entries.is_empty());
    for text in ["yes", "on", "\"true\"", "1"] {
        let text = pod("a", &format!("hostNetwork: {text}"), "podIP: 192.0.2.1");
        let errors = import_k8s(&[Source { name: "p.yaml", text: &text }]).expect_err(&text);
        assert!(errors[0].to_string().contains("hostNetwork is true or false"), "{}", errors[0]);
    }
}

#[test]
fn pods_that_ended_have_no_address_any_more() {
    for phase in ["Succeeded", "Failed"] {
        let imported = import(&pod("a", "", &format!("podIP: 10.0.0.1, phase: {phase}")));
        assert!(imported.policies.inventory.entries.is_empty());
    }
    assert_eq!(import(&pod("a", "", "podIP: 10.0.0.1, phase: Running")).policies.inventory.entries.len(), 1);
}

#[test]
fn pods_without_an_address_and_with_anothers_are_warned_about() {
    assert!(warnings(&pod("a", "", "phase: Pending"))[0].contains("pod x/a has no address yet"));
    let twice = pod("a", "", "podIP: 10.0.0.1") + &pod("b", "", "podIP: 10.0.0.1");
    assert!(warnings(&twice)[0].contains("10.0.0.1 belongs to pods x/a and x/b at once"));
}

#[test]
fn ports_of_sidecars_count_and_those_of_init_containers_do_not() {
    let spec = "initContainers: [{name: i, ports: [{name: gone, containerPort: 1}]}, \
                {name: s, restartPolicy: Always, \
                 ports: [{name: kept, containerPort: 2, protocol: UDP}, {containerPort: 3}]}]";
    let imported = import(&pod("a", spec, "podIP: 10.0.0.1"));
    let ports: Vec<_> =
        imported.policies.inventory.entries[0].ports.iter().map(|p| (p.name.as_str(), p.protocol)).collect();
    assert_eq!(ports, [("kept", 17)]);
}

#[test]
fn a_section_without_effect_is_warned_about() {
    let text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n\
                spec: {policyTypes: [Egress], ingress: [{}]}\n";
    assert_eq!(
        warnings(text),
        [
            "all.yaml:4:40: `ingress` has no effect: policyTypes does not name it: `[{}]`; name it in policyTypes, or remove \
          the section"
        ]
    );
}

#[test]
fn namespaces_without_an_object_are_warned_about_when_their_labels_matter() {
    let policy = |selector: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: y}}\n\
             spec: {{podSelector: {{}}, \
             ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{{selector}}}}}}}]}}]}}\n"
        )
    };
    let with = |selector: &str| warnings(&(pod("a", "", "podIP: 10.0.0.1") + &policy(selector)));
    assert!(with("kubernetes.io/metadata.name: x").is_empty());
    assert!(with("team: t")[0].contains("this one has pods but no Namespace object: `x`"));
}

#[test]
fn admin_policies_of_one_priority_are_warned_about() {
    let admin = |name: &str| {
        format!(
            "---\napiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {{name: {name}}}\n\
             spec: {{priority: 5, subject: {{namespaces: {{}}}}}}\n"
        )
    };
    let messages = warnings(&(admin("b") + &admin("a")));
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("`a` and `b` have priority 5"), "{}", messages[0]);
}

#[test]
fn aliases_stand_for_what_they_name() {
    let imported = import(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec:\n  podSelector: &s {matchLabels: {a: b}}\n  ingress: [{from: [{podSelector: *s}]}]\n",
    );
    let policy = &imported.policies.policies[0];
    assert_eq!(Some(&vec![(*policy.subject).clone()]), policy.ingress.as_ref().unwrap()[0].from.as_ref());
}
