use super::*;
use proptest::prelude::*;
use std::cmp::Ordering;

/// Templates, each with its methods before it if there are any: `GET,PUT /users/{id}`.
fn routes(templates: &[&str]) -> Result<Routes, Conflict> {
    let templates = templates.iter().map(|text| template(text).expect(text));
    Routes::new(templates.collect(), RouteNames::Names)
}

fn template(text: &str) -> Result<Template, TemplateError> {
    let (methods, text) = text.split_once(' ').unwrap_or(("", text));
    let methods = methods.split(',').filter(|it| !it.is_empty()).map(str::to_owned);
    Template::parse(text, methods.collect())
}

const SHOP: [&str; 17] = [
    "/",
    "/users/{id}",
    "/users/me",
    "/users/{id}/orders/{order}",
    "/users/me/friends",
    "/users/{id}/",
    "GET /orders/{id}",
    "PUT,PATCH /orders/{order}",
    "/orders/{any}",
    "POST /carts",
    "GET /carts/{id}",
    "DELETE /carts/mine",
    "/static/{*path}",
    "/static/{name}/icon",
    "/files/{a}/{b}/{c}",
    "/files/{*path}",
    "/a%20b/{x}",
];

#[test]
fn a_path_has_the_most_specific_template() {
    let cases = [
        ("GET", "/", Some("/"), "the root"),
        ("GET", "", None, "no path"),
        ("OPTIONS", "*", None, "the server as a whole"),
        ("GET", "/users", None, "a part of one"),
        ("GET", "/users/7", Some("/users/{id}"), "a parameter"),
        ("GET", "/users/me", Some("/users/me"), "a static segment first"),
        ("GET", "/users/Me", Some("/users/{id}"), "in this case alone"),
        ("GET", "/users/men", Some("/users/{id}"), "and whole"),
        ("GET", "/users/m", Some("/users/{id}"), "and whole, the other way round"),
        ("GET", "/users/me/friends", Some("/users/me/friends"), "below it"),
        ("GET", "/users/me/orders/1", Some("/users/{id}/orders/{order}"), "back to the parameter"),
        ("GET", "/users/7/friends", None, "static below another one"),
        ("GET", "/users/7/", Some("/users/{id}/"), "a slash at the end counts"),
        ("GET", "/users/", None, "a parameter is not empty"),
        ("GET", "/users//", None, "nor in the middle"),
        ("GET", "/users/%7B7%7D", Some("/users/{id}"), "a value, as it was sent"),
        ("GET", "/users/{id}", Some("/users/{id}"), "whatever it is"),
        ("GET", "/a%20b/1", Some("/a%20b/{x}"), "an encoded segment, as it is written"),
        ("GET", "/a b/1", None, "and not otherwise"),
        ("GET", "/orders/1", Some("/orders/{id}"), "one that names the method"),
        ("PATCH", "/orders/1", Some("/orders/{order}"), "another one that does"),
        ("POST", "/orders/1", Some("/orders/{any}"), "the one for all others"),
        ("get", "/orders/1", Some("/orders/{any}"), "the case of a method counts"),
        ("POST", "/carts", Some("/carts"), "its only method"),
        ("GET", "/carts", None, "not its method"),
        ("DELETE", "/carts/mine", Some("/carts/mine"), "a static segment of this method"),
        ("GET", "/carts/mine", Some("/carts/{id}"), "else the parameter"),
        ("PUT", "/carts/mine", None, "neither"),
        ("GET", "/static/a", Some("/static/{*path}"), "the rest"),
        ("GET", "/static/a/b/", Some("/static/{*path}"), "all of it"),
        ("GET", "/static//", Some("/static/{*path}"), "be it a slash"),
        ("GET", "/static/", None, "but not nothing"),
        ("GET", "/static", None, "nor less"),
        ("GET", "/static/a/icon", Some("/static/{name}/icon"), "a parameter before the rest"),
        ("GET", "/static/a/icons", Some("/static/{*path}"), "and back from it"),
        ("GET", "/files/1/2/3", Some("/files/{a}/{b}/{c}"), "three parameters"),
        ("GET", "/files/1/2/3/4", Some("/files/{*path}"), "back from three"),
        ("GET", "/files/1/2", Some("/files/{*path}"), "of a path that ends early"),
        ("GET", "/files/1//3", Some("/files/{*path}"), "of an empty segment"),
        ("GET", "users/7", None, "no slash"),
        ("GET", "//users/7", None, "two slashes"),
    ];
    let routes = routes(&SHOP).expect("no conflict");
    for (method, path, expected, reason) in cases {
        assert_eq!(
            routes.matched(method.as_bytes(), path.as_bytes()),
            expected,
            "{reason}: {path}"
        );
        assert_eq!(Routes::default().matched(method.as_bytes(), path.as_bytes()), None, "{path}");
    }
}

#[test]
fn a_catch_all_is_the_last_resort() {
    let routes = routes(&["/{*all}", "/a/{*rest}", "/a/{b}/c", "GET /{one}"]).expect("no conflict");
    for (method, path, expected) in [
        ("GET", "/a", Some("/{one}")),
        ("PUT", "/a", Some("/{*all}")),
        ("GET", "/a/b/c", Some("/a/{b}/c")),
        ("GET", "/a/b/d", Some("/a/{*rest}")),
        ("GET", "/a/", Some("/{*all}")),
        ("GET", "/b/c", Some("/{*all}")),
        ("GET", "/", None),
    ] {
        assert_eq!(routes.matched(method.as_bytes(), path.as_bytes()), expected, "{method} {path}");
    }
}

#[test]
fn a_shape_stands_once_for_a_method() {
    let cases: [(&[&str], _, _); 11] = [
        (&["/a", "/b", "/a"], Some((0, 2)), "the same"),
        (&["/a/{b}", "/a/{c}"], Some((0, 1)), "but for a name"),
        (&["/{*a}", "/{*b}"], Some((0, 1)), "a catch-all"),
        (&["/a/{b}", "/a/{*b}"], None, "a parameter and a catch-all"),
        (&["/a", "/a/"], None, "a slash at the end"),
        (&["/{a}", "/b"], None, "a static segment"),
        (&["GET /a", "PUT /a", "/a"], None, "other methods, and all others"),
        (&["GET,PUT /a", "POST /a", "HEAD,PUT /a"], Some((0, 2)), "one of the methods"),
        (&["PUT /a", "POST /a", "POST,GET /a"], Some((1, 2)), "one of another one's"),
        (&["GET /a", "get /a"], None, "the case of a method counts"),
        (&["GET /a", "/a", "/a"], Some((1, 2)), "all methods, twice"),
    ];
    for (templates, expected, reason) in cases {
        let expected = expected.map(|(first, second)| Conflict { first, second });
        assert_eq!(routes(templates).err(), expected, "{reason}: {templates:?}");
    }
}

#[test]
fn what_is_no_template_is_said() {
    use TemplateError::*;
    let (most, more) = ("/a".repeat(MAX_SEGMENTS), "/a".repeat(MAX_SEGMENTS + 1));
    let cases = [
        ("/", None, "the root"),
        ("//", None, "empty segments"),
        ("/a/{b}/{c-d}/{e_F.0}/{*g}", None, "all kinds of segments"),
        ("/a%20b/ä$:*", None, "any characters"),
        (&most, None, "as many segments as may be"),
        (&more, Some(TooLong), "one more"),
        ("", Some(NoSlash), "nothing"),
        ("a", Some(NoSlash), "no slash"),
        ("{a}", Some(NoSlash), "nor before a parameter"),
        ("/{a", Some(Brace), "an open brace"),
        ("/a}", Some(Brace), "a closed one"),
        ("/{a}b", Some(Brace), "a text behind a parameter"),
        ("/a{b}", Some(Brace), "before one"),
        ("/{a}{b}", Some(Brace), "two in a segment"),
        ("/{{a}}", Some(Brace), "braces in braces"),
        ("/{a/b}", Some(Brace), "a slash within"),
        ("/{}", Some(Name), "an empty name"),
        ("/{*}", Some(Name), "of a catch-all"),
        ("/{a b}", Some(Character), "a space in a name"),
        ("/{a:int}", Some(Name), "a type"),
        ("/{a*}", Some(Name), "an asterisk at the end"),
        ("/{**a}", Some(Name), "two asterisks"),
        ("/{ä}", Some(Name), "not ASCII"),
        ("/{a}/{a}", Some(Repeated), "a name twice"),
        ("/{a}/{*a}", Some(Repeated), "of two kinds"),
        ("/{*a}/b", Some(CatchAllNotLast), "more behind a catch-all"),
        ("/{*a}/", Some(CatchAllNotLast), "a slash behind it"),
        ("/:a", Some(OtherSyntax), "another syntax"),
        ("/a/*", Some(OtherSyntax), "of a catch-all"),
        ("/a?b", Some(Character), "a query"),
        ("/a#b", Some(Character), "a fragment"),
        ("/a b", Some(Character), "a space"),
        ("/a\n", Some(Character), "a line feed"),
        ("/\u{7f}", Some(Character), "a control character"),
    ];
    for (text, expected, reason) in cases {
        assert_eq!(Template::parse(text, Vec::new()).err(), expected, "{reason}: {text}");
    }
    assert!(TooLong.found().contains(&MAX_SEGMENTS.to_string()), "it says how many");
}

#[test]
fn a_route_may_be_the_name_of_envoys() {
    let template = || vec![Template::parse("/a/{b}", Vec::new()).expect("a template")];
    let named = Routes::new(template(), RouteNames::Templates).expect("one");
    let cases: [(&str, &[u8], _, _); 5] = [
        ("/a/1", b"/c", Some("/a/{b}"), "a template goes first"),
        ("/b", b"/c/{d}", Some("/c/{d}"), "the name, where none matches"),
        ("/b", b"checkout", None, "a name that is none"),
        ("/b", b"", None, "no name"),
        ("/b", b"/\xff", None, "not UTF-8"),
    ];
    for (path, name, expected, reason) in cases {
        assert_eq!(named.of(b"GET", path.as_bytes(), name), expected, "{reason}");
    }
    let unnamed = Routes::new(template(), RouteNames::Names).expect("one");
    assert_eq!(unnamed.of(b"GET", b"/b", b"/c"), None, "where names are no templates");
}

/// Ten thousand templates, all kinds of segments among them.
fn many() -> Vec<String> {
    let shapes = ["/items", "/items/{item}", "/items/{item}/{*rest}", "/{any}/parts"];
    let service = |number: usize| shapes.map(|shape| format!("/v1/service-{number}{shape}"));
    (0..2500).flat_map(service).collect()
}

#[test]
fn ten_thousand_templates_are_searched_as_few_are() {
    let many = many();
    let texts: Vec<_> = many.iter().map(String::as_str).collect();
    let routes = routes(&texts).expect("no conflict");
    let taken = routes.places.iter().filter(|node| **node != 0).count();
    assert!(taken * 2 <= routes.places.len(), "the table has room: {taken}");
    let mask = routes.places.len() - 1;
    let distances =
        (0..).zip(&routes.places).filter(|(_, node)| **node != 0).map(|(place, node)| {
            let Node { parent, template, segment, .. } = &routes.nodes[*node];
            let text = &routes.leaves[*template].template.text().as_bytes()[*segment..];
            usize::wrapping_sub(place, hash(*parent, split_first(text).0)) & mask
        });
    let distances: Vec<_> = distances.collect();
    let farthest = distances.iter().max().expect("some");
    assert!(*farthest < 32, "each stands near its place: {farthest}");
    let all: usize = distances.iter().sum();
    assert!(all < distances.len(), "most stand at it: {all} of {}", distances.len());
    for template in &many {
        let path = template.replace(['{', '}', '*'], "");
        assert_eq!(routes.matched(b"GET", path.as_bytes()), Some(template.as_str()), "{path}");
        let mut steps = MAX_STEPS;
        let _ = routes.search(0, b"GET", path.as_bytes().get(1..).expect("a slash"), &mut steps);
        assert!(MAX_STEPS - steps <= 5, "{path}: {steps}");
    }
    assert_eq!(routes.matched(b"GET", b"/v1/service-2500/items"), None);
}

#[test]
fn a_search_ends() {
    // Each way through ten segments, and one more that is never there.
    let ways = (0..1 << 10).map(|bits: u32| {
        let segment =
            |at: u32| if bits >> at & 1 == 1 { format!("/{{p{at}}}") } else { "/a".into() };
        Template::parse(&((0..10).map(segment).collect::<String>() + "/end"), Vec::new())
    });
    let mut templates: Vec<_> = ways.map(|template| template.expect("a template")).collect();
    templates.push(Template::parse("/{*all}", Vec::new()).expect("a template"));
    let routes = Routes::new(templates, RouteNames::Names).expect("no conflict");
    let path = "/a".repeat(10);
    let found = routes.matched(b"GET", format!("{path}/end").as_bytes());
    assert_eq!(found, Some(format!("{path}/end").as_str()), "the first way");
    assert_eq!(routes.matched(b"GET", format!("{path}/x").as_bytes()), None, "given up");
    assert_eq!(routes.matched(b"GET", b"/a/b/c"), Some("/{*all}"), "few ways");
}

/// What a list of templates says, looked through from its start to its end.
fn naive<'a>(templates: &'a [Template], method: &str, path: &str) -> Option<&'a str> {
    let is_for = |it: &&Template| it.is_for_all() || it.names(method.as_bytes());
    let matching = templates.iter().filter(is_for).filter(|it| is_match(it, path));
    matching.min_by(|one, other| by_kinds(one, other)).map(Template::text)
}

fn segments(template: &Template) -> impl Iterator<Item = Segment<'_>> {
    template.text().split('/').skip(1).map(|segment| Segment::of(segment.as_bytes()))
}

fn is_match(template: &Template, path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    let mut rest = Some(path);
    for segment in segments(template) {
        let Some(text) = rest else { return false };
        let (first, after) = match text.split_once('/') {
            Some((first, after)) => (first, Some(after)),
            None => (text, None),
        };
        rest = match segment {
            Segment::Static(known) if known == first.as_bytes() => after,
            Segment::Parameter(_) if !first.is_empty() => after,
            Segment::CatchAll(_) if !text.is_empty() => None,
            _ => return false,
        };
    }
    rest.is_none()
}

fn by_kinds(one: &Template, other: &Template) -> Ordering {
    let kind = |segment: Segment<'_>| match segment {
        Segment::Static(_) => 0,
        Segment::Parameter(_) => 1,
        Segment::CatchAll(_) => 2,
    };
    let kinds = segments(one).map(kind).cmp(segments(other).map(kind));
    kinds.then_with(|| one.is_for_all().cmp(&other.is_for_all()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_tree_finds_what_a_list_does(
        texts in prop::collection::vec("(|GET |PUT |GET,PUT )(/(a|b|ab||\\{p\\}|\\{q\\})){1,4}(/\\{\\*r\\})?", 0..12),
        paths in prop::collection::vec("(/(a|b|ab|c|)){0,6}", 1..20),
        method in "GET|PUT|get",
    ) {
        // Those that there may be, each if it is in conflict with none before it.
        let mut kept: Vec<&str> = Vec::new();
        for text in &texts {
            kept.push(text);
            if template(text).is_err() || routes(&kept).is_err() {
                kept.pop();
            }
        }
        let list: Vec<_> = kept.iter().map(|text| template(text).expect("kept")).collect();
        let tree = routes(&kept).expect("kept");
        for path in &paths {
            let found = tree.matched(method.as_bytes(), path.as_bytes());
            prop_assert_eq!(found, naive(&list, &method, path), "{} {} in {:?}", method, path, kept);
        }
    }

    #[test]
    fn any_text_is_a_template_or_is_none(text in "(/|\\{|\\}|\\*|a|:|\\?|é| ){0,9}", path: Vec<u8>) {
        if let Ok(template) = Template::parse(&text, Vec::new()) {
            let routes = Routes::new(vec![template], RouteNames::Templates).expect("one");
            let _ = routes.of(&path, &path, &path);
        }
    }
}
