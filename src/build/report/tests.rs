use super::*;

fn report() -> FilterReport {
    let category = |id: i64, name: &str, dropped: &[(Rule, u64)], kept: u64| CategoryReport {
        id,
        name: name.to_owned(),
        came: dropped.iter().map(|(_, count)| count).sum::<u64>() + kept,
        dropped: dropped.iter().copied().collect(),
        kept,
        best_clip: (kept > 0).then_some(20.0 + kept as f32),
    };
    FilterReport {
        choices: Vec::new(),
        categories: vec![
            category(
                1,
                "cat <&> dog",
                &[(Rule::Empty, 1), (Rule::BelowBar, 12)],
                3,
            ),
            category(2, "yak", &[], 0),
        ],
        cutouts: 3,
        bytes: 1000,
        was_finished: false,
    }
}

#[test]
fn the_table_has_a_column_for_each_rule_that_was_broken() {
    let expected = "\
category     came  below bar  empty  kept  best clip
cat <&> dog    16         12      1     3      23.00
yak             0          0      0     0          -
all            16         12      1     3      23.00
";
    assert_eq!(report().table(), expected);
}

#[test]
fn the_page_shows_names_as_text() {
    let sheets = [vec!["1-cat-kept.png".to_owned()], Vec::new()];
    let page = page::page(&report(), &sheets);
    assert!(page.contains("<a href=\"#c1\">cat &lt;&amp;&gt; dog</a></td><td>16</td>"));
    assert!(page.contains("src=\"1-cat-kept.png\""));
    assert!(!page.contains("<&>"));
}

#[test]
fn json_counts_what_the_table_counts() {
    let json: serde_json::Value = serde_json::from_str(&json_of(&report())).unwrap();
    assert_eq!((&json["came"], &json["kept"]), (&json!(16), &json!(3)));
    assert_eq!(json["dropped"], json!({"below_bar": 12, "empty": 1}));
    assert_eq!(json["categories"][1]["name"], json!("yak"));
}
