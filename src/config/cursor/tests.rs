//! What the cursor makes of each type, and of keys.

use super::*;
use serde_json::json;

fn value(json: &serde_json::Value) -> Value {
    Value::of_json(json)
}

#[test]
fn what_is_not_taken_is_refused() {
    let document = value(&json!({"at": {"a": 1, "b": null, "c": {}}}));
    let cases: &[(&[&str], &[&str], &str, &str)] = &[
        (&["c", "b", "a"], &[], "", "all"),
        (&["a", "b", "c", "d"], &["e"], "", "all, and what is not there"),
        (&["c", "a"], &[], r#"at: unknown key "b"; accepted: c, a"#, "in the order of taking"),
        (&[], &[], r#"at: unknown key "a"; accepted: no keys"#, "none is taken"),
        (&["b"], &["c"], r#"at: unknown key "a"; accepted: b"#, "the first one that is left"),
        (
            &["a", "b"],
            &["c"],
            "at.c: not supported by this version; accepted: a, b",
            "a key that is known",
        ),
    ];
    for (taken, unsupported, expected, reason) in cases {
        let result = Cursor::root(&document).object(|root| {
            root.take_object("at", |object| {
                object.unsupported(unsupported);
                Ok(taken.iter().filter_map(|key| object.take(key)).count())
            })
        });
        let message = result.err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(message, *expected, "{reason}");
    }
    let document = value(&json!({"a": 1, "b": null}));
    let root = Cursor::root(&document);
    let error = root.object(|object| object.take_as("a", Cursor::text)).expect_err("a number");
    assert_eq!(
        error.to_string(),
        "a: found a number; accepted: a string",
        "the reader's error first"
    );
}

#[test]
fn what_has_to_be_there_is_named_when_it_is_not() {
    let document = value(&json!({"list": [null, {"a": {}}], "null": null}));
    let message = |read: fn(&mut Object<'_>) -> Result<i64, ConfigError>| {
        Cursor::root(&document).object(read).expect_err("it is not there").to_string()
    };
    let at_the_root = message(|root| root.take_needed("x").int());
    assert_eq!(at_the_root, "x: found null; accepted: an integer");
    let null = message(|root| root.take_needed("null").int());
    assert_eq!(null, "null: found null; accepted: an integer", "there, and null");
    let deep = message(|root| {
        let items = root.take_or_null("list").items()?;
        items[1].object(|item| item.take_object("a", |a| a.take_needed("x").int()))
    });
    assert_eq!(deep, "list[1].a.x: found null; accepted: an integer");
}

#[test]
fn absent_and_null_are_told_apart_where_that_matters() {
    let document = value(&json!({"null": null, "some": {"x": 1}}));
    let root = Cursor::root(&document);
    let found = root.object(|object| {
        let null = (object.take("null").is_some(), object.take_even_null("null").is_some());
        let some = (object.take("some").is_some(), object.take_even_null("some").is_some());
        let none = (object.take("none").is_some(), object.take_even_null("none").is_some());
        let nulls = ["null", "none"].map(|key| object.take_or_null(key).is_null());
        let inner = object.take_object("some", |some| some.take_as("x", Cursor::int))?;
        let outer = object.take_object("none", |none| none.take_as("x", Cursor::int))?;
        Ok((null, some, none, nulls, inner, outer))
    });
    let expected =
        ((false, true), (true, true), (false, false), [true, true], Some(1), None::<i64>);
    assert_eq!(found, Ok(expected));
}

#[test]
fn one_of_several_things_is_named() {
    const THINGS: &Words<i32> = &[("a", 1), ("b", 2)];
    let cases = [
        (json!({"a": 5}), Ok(Some((1, "5"))), "one"),
        (json!({"b": null}), Ok(Some((2, "null"))), "one of which nothing is said"),
        (json!({}), Ok(None), "none"),
        (json!(null), Ok(None), "nothing"),
        (json!({"a": 1, "b": 1}), Ok(None), "two"),
        (json!({"a": 1, "c": 1}), Err("unknown key \"c\"; accepted: a, b"), "an unknown one"),
        (json!({"d": 1}), Err("d: not supported by this version; accepted: a, b"), "a known one"),
        (json!([]), Err("found a list; accepted: an object"), "no object"),
        (json!("a"), Err(r#"found "a"; accepted: {"a": {}}"#), "its name alone"),
        (json!("c"), Err("found a string; accepted: an object"), "another word"),
    ];
    for (document, expected, reason) in cases {
        let value = value(&document);
        let found = Cursor::root(&value).only_member(THINGS, &["d"]);
        let found = found.map(|one| one.map(|(thing, at)| (thing, at.value.as_json().to_string())));
        let found = found.map_err(|error| error.to_string());
        let expected = expected.map(|one| one.map(|(thing, at)| (thing, at.to_owned())));
        assert_eq!(found, expected.map_err(str::to_owned), "{reason}: {document}");
    }
}

#[test]
fn of_what_was_found_the_type_stands_in_an_error() {
    let cases = [
        (json!(null), "null", "null"),
        (json!(true), "a boolean", "a boolean"),
        (json!(1.5), "a number", "1.5"),
        (json!(-7), "a number", "-7"),
        (json!("x"), "a string", "a string"),
        (json!([1]), "a list", "a list"),
        (json!({"a": 1}), "an object", "an object"),
    ];
    for (found, kind, number) in cases {
        let list = value(&json!([found]));
        let items = Cursor::root(&list).items().expect("a list");
        let error = items[0].refuse("x").to_string();
        assert_eq!(error, format!("[0]: found {kind}; accepted: x"));
        let error = items[0].refuse_number("x").to_string();
        assert_eq!(error, format!("[0]: found {number}; accepted: x"), "for a number");
    }
}

#[test]
fn what_is_in_a_secret_is_one() {
    let document = value(&json!({"a": [{"secret": 1}]}));
    let error = |cursor: Cursor<'_>| {
        let items = cursor.object(|root| root.take_or_null("a").items()).expect("a list");
        items[0].object(|_| Ok(())).expect_err("an unknown key").to_string()
    };
    let known = error(Cursor::root(&document));
    assert_eq!(known, "a[0]: unknown key \"secret\"; accepted: no keys");
    let secret = error(Cursor::root(&document).secret());
    assert_eq!(secret, "a[0]: unknown key; accepted: no keys");
}
