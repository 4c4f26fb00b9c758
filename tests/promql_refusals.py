"""Queries that Prometheus refuses, with what lint says of them, and others that it takes."""

from typing import Final

REFUSED: Final[tuple[tuple[str, str], ...]] = (
    ("sum(x", 'column 4, at \'(x\': "(" is never closed: write ")"'),
    ("sum(rate(x[5m])", 'column 4, at \'(rate(x[5m])\': "(" is never closed: write ")"'),
    ("rates(x)", "column 1, at 'rates': rates() is not a function of PromQL: did you mean rate()?"),
    (
        "rate(x)",
        (
            "column 6, at 'x': rate() needs a range, such as x[$window], and x is an instant vector: write"
            " rate(x[$window])"
        ),
    ),
    ("sum(1)", "column 5, at '1': sum needs an instant vector, and 1 is a number: remove the aggregation"),
    (
        "histogram_quantile(sum(x),0.9)",
        (
            "column 1, at 'histogram_quantile(sum(x),0.9)': the arguments of histogram_quantile() are in the"
            " wrong order: write histogram_quantile(0.9, sum(x))"
        ),
    ),
    (
        "{}",
        (
            "column 1, at '{}': this selects every series there is: write a metric's name, or a matcher that"
            " nothing empty fits"
        ),
    ),
    (
        '{a=~".*"}',
        (
            "column 1, at '{a=~\".*\"}': this selects every series there is: write a metric's name, or a matcher"
            " that nothing empty fits"
        ),
    ),
    ('x{a=~"5(."}', 'column 6, at \'"5(."\': a=~"5(." is not an expression of RE2: "(" is never closed'),
    ('x{a=~"(?=a)"}', 'column 6, at \'"(?=a)"\': a=~"(?=a)" is not an expression of RE2: RE2 has no look-ahead'),
    ("x and bool y", "column 3, at 'and': bool stands only after a comparison, not after \"and\": remove it"),
    ("1>2", "column 2, at '>': two numbers are compared: write \"> bool\""),
    ("x and on(a) group_left y", "column 3, at 'and': group_left is not allowed with \"and\": remove it"),
    (
        "x / group_left y",
        "column 5, at 'group_left y': group_left needs on(...) or ignoring(...) before it: write on(label) first",
    ),
    ("x[5m] offset 5m offset 5m", "column 17, at 'offset 5m': offset is written twice: keep one"),
    ("sum by (a) (x) by (b)", "column 16, at 'by (b)': sum has by already: remove this by"),
    ("rate(x[5m],1)", "column 1, at 'rate(x[5m],1)': rate() needs 1 argument, and has 2"),
    ("time(1)", "column 1, at 'time(1)': time() needs 0 arguments, and has 1"),
    ("round(x,1,2)", "column 1, at 'round(x,1,2)': round() needs 1 to 2 arguments, and has 3"),
    ("label_replace(x,'a')", "column 1, at 'label_replace(x,'a')': label_replace() needs 5 arguments, and has 2"),
    ("x + 'a'", "column 5, at ''a'': \"+\" needs numbers or instant vectors, and 'a' is a string: remove the quotes"),
    ("topk(x)", "column 1, at 'topk(x)': topk needs 2 arguments, and has 1: write topk(5, x)"),
    ("topk('a',x)", "column 6, at ''a'': topk needs a number, and 'a' is a string"),
    ("sum(x,y)", "column 1, at 'sum(x,y)': sum needs 1 argument, and has 2: write sum(x)"),
    ("x offset 5m[5m]", "column 12, at '[5m]': [5m] must stand before offset and @: write x[5m] offset 5m"),
    (
        "x[5m][5m]",
        (
            "column 6, at '[5m]': [5m] must stand after a metric, not after an expression: write the range after"
            " the metric, or [5m:] for a range of an expression"
        ),
    ),
    (
        "sum(x)[5m]",
        (
            "column 7, at '[5m]': [5m] must stand after a metric, not after an expression: write the range after"
            " the metric, or [5m:] for a range of an expression"
        ),
    ),
    ("x{a=b}", "column 5, at 'b}': the value of a needs quotes: write a=\"b\""),
    ("x{a='b' c='d'}", "column 9, at 'c='d'}': a comma is missing between the matchers"),
    ("count_values(1,x)", "column 14, at '1': count_values needs a string in quotes, and 1 is a number"),
    ("quantile('a',x)", "column 10, at ''a'': quantile needs a number, and 'a' is a string"),
    ("-'a'", "column 1, at '-'a'': a sign stands before a string, which has none"),
    ("-x[5m]", "column 1, at '-x[5m]': a sign stands before a range, which has none"),
    (
        "holt_winters(x[5m],1,1)",
        "column 1, at 'holt_winters': holt_winters() is not a function of PromQL: write double_exponential_smoothing",
    ),
    (
        "x / on(a) group_left(a) y",
        "column 3, at '/': a is in on(...) and in group_left(...): remove it from group_left",
    ),
    ("x @ y", "column 3, at '@ y': after @ a time is missing: write seconds since 1970, start() or end()"),
    ("sum(x) by", "column 10, at the end: by needs its labels in parentheses: write by (label)"),
    (
        "x{__name__='y'}",
        "column 1, at 'x{__name__='y'}': the metric has two names: remove __name__, or the name before the braces",
    ),
    (
        "quantile_over_time(x[5m],0.9)",
        (
            "column 1, at 'quantile_over_time(x[5m],0.9)': the arguments of quantile_over_time() are in the"
            " wrong order: write quantile_over_time(0.9, x[5m])"
        ),
    ),
    ("predict_linear(x[5m])", "column 1, at 'predict_linear(x[5m])': predict_linear() needs 2 arguments, and has 1"),
    ("atan2(x,y)", "column 1, at 'atan2(x,y)': before \"atan2\" a metric, a number or a function is missing"),
    ("x[0s]", "column 2, at '[0s]': a range must be longer than 0"),
    (
        "x[5m] + 1",
        (
            "column 1, at 'x[5m]': \"+\" needs numbers or instant vectors, and x[5m] is a range: put a function"
            " such as rate() around it"
        ),
    ),
    (
        "abs(x[5m])",
        (
            "column 5, at 'x[5m]': abs() needs an instant vector, and x[5m] is a range: remove the range, or put"
            " a function such as rate() around it"
        ),
    ),
    (
        "absent(1)",
        "column 8, at '1': absent() needs an instant vector, and 1 is a number: write vector(...) around the number",
    ),
    (
        "vector(x)",
        (
            "column 8, at 'x': vector() needs a number, and x is an instant vector: write a number, or"
            " scalar(...) around one series"
        ),
    ),
    (
        "scalar(1)",
        "column 8, at '1': scalar() needs an instant vector, and 1 is a number: write vector(...) around the number",
    ),
    ("clamp(x,1)", "column 1, at 'clamp(x,1)': clamp() needs 3 arguments, and has 2"),
    ("sum(x) > bool", "column 8, at '> bool': after \">\" a metric, a number or a function is missing"),
    (
        "x == bool 'a'",
        "column 11, at ''a'': \"==\" needs numbers or instant vectors, and 'a' is a string: remove the quotes",
    ),
    ("1 and 2", "column 3, at 'and': \"and\" needs series on both sides, and 1 is a number: write vector(...)"),
    ("x and 1", "column 3, at 'and': \"and\" needs series on both sides, and 1 is a number: write vector(...)"),
    ("x or 1", "column 3, at 'or': \"or\" needs series on both sides, and 1 is a number: write vector(...)"),
    ("x[5m] smoothed", "column 7, at 'smoothed': before \"smoothed\" an operator is missing, or a parenthesis"),
    ("rate(x[5m anchored])", "column 7, at '[5m anchored])': \"anchored\" is not a duration"),
    (
        "min_over_time(x)",
        (
            "column 15, at 'x': min_over_time() needs a range, such as x[$window], and x is an instant vector:"
            " write min_over_time(x[$window])"
        ),
    ),
    ("x[1h:5m:5m]", "column 2, at '[1h:5m:5m]': \"1h:5m:5m\" is not a duration: write one such as 5m"),
    (
        "x{a=~'[b-a]'}",
        "column 6, at ''[b-a]'': a=~\"[b-a]\" is not an expression of RE2: b-a is a range that runs backwards",
    ),
    ("x{a=~'\\d'}", "column 7, at '\\d'}': \\d is not an escape of a string: write \\\\d or [0-9]"),
    (
        'x{a=~"(a)\\\\1"}',
        'column 6, at \'"(a)\\\\1"\': a=~"(a)\\1" is not an expression of RE2: RE2 has no back references such as \\1',
    ),
    (
        'x{a=~"a++"}',
        (
            'column 6, at \'"a++"\': a=~"a++" is not an expression of RE2: "+" repeats a repetition: write'
            " parentheses between them"
        ),
    ),
    (
        'x{a=~"a{1001}"}',
        'column 6, at \'"a{1001}"\': a=~"a{1001}" is not an expression of RE2: {1001} is no count from 0 to 1000',
    ),
    (
        'x{a=~"\\\\z\\\\C"}',
        'column 6, at \'"\\\\z\\\\C"\': a=~"\\z\\C" is not an expression of RE2: \\C is not an escape of RE2',
    ),
    ("x > 5%", "column 6, at '%': \"%\" is the remainder of a division in PromQL: for 5% write 0.05"),
    ("x = 5", 'column 3, at \'= 5\': "=" stands only within braces: to compare write "=="'),
    ("a && b", "column 3, at '&& b': & is not part of PromQL: write \"and\""),
    ("a || b", "column 3, at '|| b': | is not part of PromQL: write \"or\""),
    ('x{code=="5"}', 'column 7, at \'=="5"}\': a matcher has one "=": write code="..."'),
    ("x{code=500}", "column 8, at '500}': the value of code needs quotes: write code=\"500\""),
    ("[5m]", "column 1, at '[5m]': before \"[5m]\" a metric, a number or a function is missing"),
    ("rate(x[5min])", "column 7, at '[5min])': \"5min\" is not a duration: write 5m"),
    (
        "rate(x[1.5h])",
        (
            "column 7, at '[1.5h])': \"1.5h\" is not a duration: PromQL has no fractions of a unit, write 1h30m"
            " for one and a half hours"
        ),
    ),
    ("rate(x[5m)", 'column 7, at \'[5m)\': "[" is never closed: write "]"'),
    (
        "x[30s5m]",
        (
            "column 2, at '[30s5m]': \"30s5m\" is not a duration: write the largest unit first and each once,"
            " such as 1h30m"
        ),
    ),
    (
        "sum(rate(sum(x)))",
        (
            "column 10, at 'sum(x)': rate() needs a range, such as x[$window], and sum(x) is an instant vector:"
            " write the range after the metric, and the sum outside: sum(rate(x[$window]))"
        ),
    ),
    (
        "rate(rate(x[5m]))",
        (
            "column 6, at 'rate(x[5m])': rate() needs a range, such as x[$window], and rate(x[5m]) is an instant"
            " vector: rate() has taken the range already; write one of the two, or a subquery"
        ),
    ),
    ("Rate(x[5m])", "column 1, at 'Rate': Rate() is not a function of PromQL: did you mean rate()?"),
    ("sum(x) sum(y)", "column 8, at 'sum(y)': before \"sum\" an operator is missing, or a parenthesis"),
    ("sum(x,)", "column 6, at ',)': an argument is missing after the last comma: remove the comma"),
    ("x)", "column 2, at ')': this \")\" closes nothing: remove it"),
    ("", "column 1, at the end: there is no query: write one that returns a number"),
    ("# c", "column 1, at '# c': there is no query: write one that returns a number"),
    ('x{a="b"}{c="d"}', "column 9, at '{c=\"d\"}': a metric has one pair of braces: write all matchers into it"),
    ("by (a) x", "column 1, at 'by (a) x': before \"by\" a metric, a number or a function is missing"),
    ("sum by a (x)", "column 8, at 'a (x)': by needs its labels in parentheses: write by (a)"),
    ("sum(x) by (a", 'column 11, at \'(a\': "(" is never closed: write ")"'),
    ('x{a="b', "column 5, at '\"b': this string does not end: write \" after it"),
    ("x{a='b\"}", "column 5, at ''b\"}': this string does not end: write ' after it"),
    ("(x) offset 5m", "column 5, at 'offset 5m': offset must stand after a metric or a range, not after an expression"),
    ("x{“a”=1}", "column 3, at '“a”=1}': “ is not part of PromQL: write straight quotes: \""),
    ("a ? b : c", "column 3, at '? b : c': ? is not part of PromQL: PromQL has no ?: write bool after a comparison"),
    ("x[$window]", "column 2, at '[$window]': \"$window\" is not a duration"),
    ("x on(a) y", "column 3, at 'on(a) y': before \"on\" an operator is missing, or a parenthesis"),
    ("x / on(a) on(b) y", "column 11, at 'on(b) y': before \"on\" a metric, a number or a function is missing"),
    ("sum(x) / ", "column 8, at '/': after \"/\" a metric, a number or a function is missing"),
    ("/ sum(x)", "column 1, at '/ sum(x)': before \"/\" a metric, a number or a function is missing"),
    ("x{,}", 'column 3, at \',}\': "," is not a label: write matchers such as code="500"'),
    ("x +/ y", "column 4, at '/ y': before \"/\" a metric, a number or a function is missing"),
    ("sum(x))", "column 7, at ')': this \")\" closes nothing: remove it"),
    ("topk(x, 5)", "column 1, at 'topk(x, 5)': the arguments of topk are in the wrong order: write topk(5, x)"),
    ("x > bool bool y", "column 10, at 'bool y': bool is written twice: remove one"),
    (
        "histogram_quantile(0.99, rate(x_bucket[5m]), 1)",
        (
            "column 1, at 'histogram_quantile(0.99, rate(x_bucket[5m]), 1)': histogram_quantile() needs 2"
            " arguments, and has 3"
        ),
    ),
    ("x[5M]", "column 2, at '[5M]': \"5M\" is not a duration: write 5m"),
    (
        "label_replace(x,'a','b','c','(')",
        "column 29, at ''('': the expression of label_replace() is not one of RE2: \"(\" is never closed",
    ),
    (
        'sum(rate(http_requests_total{code=~"5.."}[5m])',
        'column 4, at \'(rate(http_requests_total\': "(" is never closed: write ")"',
    ),
    ("sum(rate(x_total[5m]))) / 2", "column 23, at ') / 2': this \")\" closes nothing: remove it"),
    (
        "rate(sum(x_total[5m]))",
        (
            "column 10, at 'x_total[5m]': sum needs an instant vector, and x_total[5m] is a range: write"
            " sum(rate(x_total[5m])), or another function of a range"
        ),
    ),
    (
        "sum(x_total[5m])",
        (
            "column 5, at 'x_total[5m]': sum needs an instant vector, and x_total[5m] is a range: write"
            " sum(rate(x_total[5m])), or another function of a range"
        ),
    ),
    (
        "avg_over_time(x)",
        (
            "column 15, at 'x': avg_over_time() needs a range, such as x[$window], and x is an instant vector:"
            " write avg_over_time(x[$window])"
        ),
    ),
    (
        "histogram_quantile(rate(x_bucket[5m]), 0.9)",
        (
            "column 1, at 'histogram_quantile(rate(x_bucket[5m]), 0.9)': the arguments of histogram_quantile()"
            " are in the wrong order: write histogram_quantile(0.9, rate(x_bucket[5m]))"
        ),
    ),
    ("label_replace(x)", "column 1, at 'label_replace(x)': label_replace() needs 5 arguments, and has 1"),
    ("sum by le (x)", "column 8, at 'le (x)': by needs its labels in parentheses: write by (le)"),
    ("sum(x) group by (a)", "column 8, at 'group by (a)': before \"group\" an operator is missing, or a parenthesis"),
    ('x{code=~"5[0-9"}', 'column 9, at \'"5[0-9"\': code=~"5[0-9" is not an expression of RE2: "[" is never closed'),
    (
        'x{code!~"*"}',
        'column 9, at \'"*"\': code!~"*" is not an expression of RE2: "*" has nothing before it to repeat',
    ),
    (
        "x{path=~'/a/(?!b).*'}",
        "column 9, at ''/a/(?!b).*'': path=~\"/a/(?!b).*\" is not an expression of RE2: RE2 has no look-ahead",
    ),
    ("x unless on(a) group_left(b) y", "column 3, at 'unless': group_left is not allowed with \"unless\": remove it"),
    (
        'sum(x) + "1"',
        'column 10, at \'"1"\': "+" needs numbers or instant vectors, and "1" is a string: remove the quotes',
    ),
    ("rate(x[5m]) by (a)", "column 13, at 'by (a)': by belongs directly after an aggregation such as sum(...)"),
    ('x{a="b"}}', "column 9, at '}': before \"}\" an operator is missing, or a parenthesis"),
    ('x{a="b",,c="d"}', 'column 9, at \',c="d"}\': "," is not a label: write matchers such as code="500"'),
    ("max(x, y)", "column 1, at 'max(x, y)': max needs 1 argument, and has 2: write max(x)"),
    (
        "count_values(x)",
        "column 1, at 'count_values(x)': count_values needs 2 arguments, and has 1: write count_values(\"label\", x)",
    ),
    ("quantile(x)", "column 1, at 'quantile(x)': quantile needs 2 arguments, and has 1: write quantile(0.99, x)"),
    ("sum(rate(x[5m))", 'column 11, at \'[5m))\': "[" is never closed: write "]"'),
    ('sum(rate(x{a="b"[5m]))', "column 17, at '[5m]))': a comma is missing between the matchers"),
    (
        "irate(x)",
        (
            "column 7, at 'x': irate() needs a range, such as x[$window], and x is an instant vector: write"
            " irate(x[$window])"
        ),
    ),
    (
        "increase(x_total)",
        (
            "column 10, at 'x_total': increase() needs a range, such as x[$window], and x_total is an instant"
            " vector: write increase(x_total[$window])"
        ),
    ),
    (
        "delta(x)",
        (
            "column 7, at 'x': delta() needs a range, such as x[$window], and x is an instant vector: write"
            " delta(x[$window])"
        ),
    ),
    ("x @ foo", "column 3, at '@ foo': after @ a time is missing: write seconds since 1970, start() or end()"),
    ("x offset", "column 3, at 'offset': after offset a duration is missing: write offset 5m"),
    ("x offset -", "column 3, at 'offset -': after offset a duration is missing: write offset 5m"),
    ("x[5m:1m:1m]", "column 2, at '[5m:1m:1m]': \"5m:1m:1m\" is not a duration: write one such as 5m"),
    ("x[]", "column 2, at '[]': the range is empty: write [$window]"),
    ("x[:5m]", "column 2, at '[:5m]': \":5m\" is not a duration"),
    ("sum()", "column 1, at 'sum()': sum needs 1 argument, and has 0: write sum(x)"),
    ("rate()", "column 1, at 'rate()': rate() needs 1 argument, and has 0"),
    ("clamp_max(x)", "column 1, at 'clamp_max(x)': clamp_max() needs 2 arguments, and has 1"),
    ("round()", "column 1, at 'round()': round() needs 1 to 2 arguments, and has 0"),
    ('scalar("a")', 'column 8, at \'"a"\': scalar() needs an instant vector, and "a" is a string'),
    ("time(x)", "column 1, at 'time(x)': time() needs 0 arguments, and has 1"),
    ('vector("a")', 'column 8, at \'"a"\': vector() needs a number, and "a" is a string'),
    ("(x", 'column 1, at \'(x\': "(" is never closed: write ")"'),
    ("((x)", 'column 1, at \'((x)\': "(" is never closed: write ")"'),
    ('"a', "column 1, at '\"a': this string does not end: write \" after it"),
    ('x{a="b}', "column 5, at '\"b}': this string does not end: write \" after it"),
    ("x !~ y", "column 3, at '!~ y': \"!~\" stands only within braces, after a label"),
    ("x <> y", "column 4, at '> y': before \">\" a metric, a number or a function is missing"),
    ("x != = y", 'column 6, at \'= y\': "=" stands only within braces: to compare write "=="'),
    ("!x", 'column 1, at \'!x\': ! is not part of PromQL: write "!=" or "unless"'),
    ("x; y", "column 2, at '; y': ; is not part of PromQL: a query is one expression: remove it"),
    ("x == 1 and", "column 8, at 'and': after \"and\" a metric, a number or a function is missing"),
    ("NOT x", "column 5, at 'x': before \"x\" an operator is missing, or a parenthesis"),
    ("sum(x) / sum(y", 'column 13, at \'(y\': "(" is never closed: write ")"'),
    ('x{=~"a"}', 'column 3, at \'=~"a"}\': "=~" is not a label: write matchers such as code="500"'),
    ("x{a}", "column 4, at '}': after the label a, one of =, !=, =~ and !~ is missing"),
    ("x{a=}", "column 5, at '}': the value of a needs quotes"),
    (
        'x{"a"}{b="c"}',
        'column 1, at \'x{"a"}{b="c"}\': the metric has two names: remove __name__, or the name before the braces',
    ),
    (
        'x{__name__="y"}',
        "column 1, at 'x{__name__=\"y\"}': the metric has two names: remove __name__, or the name before the braces",
    ),
    (
        '{__name__=~".*"}',
        (
            "column 1, at '{__name__=~\".*\"}': this selects every series there is: write a metric's name, or a"
            " matcher that nothing empty fits"
        ),
    ),
    (
        '{a!="b"}',
        (
            "column 1, at '{a!=\"b\"}': this selects every series there is: write a metric's name, or a matcher"
            " that nothing empty fits"
        ),
    ),
    (
        '{a=""}',
        (
            "column 1, at '{a=\"\"}': this selects every series there is: write a metric's name, or a matcher"
            " that nothing empty fits"
        ),
    ),
    ("median(x)", "column 1, at 'median': median() is not a function of PromQL: write quantile(0.5, ...)"),
    (
        "percentile(0.9, x)",
        "column 1, at 'percentile': percentile() is not a function of PromQL: write histogram_quantile",
    ),
    ("p99(x)", "column 1, at 'p99': p99() is not a function of PromQL: write histogram_quantile(0.99, ...)"),
    ("mean(x)", "column 1, at 'mean': mean() is not a function of PromQL: write avg"),
    ("sumrate(x[5m])", "column 1, at 'sumrate': sumrate() is not a function of PromQL: did you mean rate()?"),
    (
        "histogram_quantil(0.9, x)",
        (
            "column 1, at 'histogram_quantil': histogram_quantil() is not a function of PromQL: did you mean"
            " histogram_quantile()?"
        ),
    ),
    ("COUNTS(x)", "column 1, at 'COUNTS': COUNTS() is not a function of PromQL: did you mean count()?"),
    ("absent()", "column 1, at 'absent()': absent() needs 1 argument, and has 0"),
    (
        "x[5m]  + y",
        (
            "column 1, at 'x[5m]': \"+\" needs numbers or instant vectors, and x[5m] is a range: put a function"
            " such as rate() around it"
        ),
    ),
    ('-"a"', "column 1, at '-\"a\"': a sign stands before a string, which has none"),
    (
        "(x[5m])[1m:]",
        "column 1, at '(x[5m])[1m:]': a subquery needs an instant vector before its range, and x[5m] is a range",
    ),
    ('"a"[5m:]', 'column 1, at \'"a"[5m:]\': a subquery needs an instant vector before its range, and "a" is a string'),
    ("1 or x", "column 3, at 'or': \"or\" needs series on both sides, and 1 is a number: write vector(...)"),
    ("x and 2", "column 3, at 'and': \"and\" needs series on both sides, and 2 is a number: write vector(...)"),
    ("1 and x", "column 3, at 'and': \"and\" needs series on both sides, and 1 is a number: write vector(...)"),
    ("1 == 2", "column 3, at '==': two numbers are compared: write \"== bool\""),
    ("1 > on(a) 2", "column 3, at '>': two numbers are compared: write \"> bool\""),
    ("x > on(a) 2", "column 3, at '>': on(...) needs series on both sides: remove it where one is a number"),
    ("x + bool y", "column 3, at '+': bool stands only after a comparison, not after \"+\": remove it"),
    ("x bool > y", "column 3, at 'bool > y': before \"bool\" an operator is missing, or a parenthesis"),
    ("x{a=~'(a'}", "column 6, at ''(a'': a=~\"(a\" is not an expression of RE2: \"(\" is never closed"),
    (
        'x{a=~"a{2,1}"}',
        'column 6, at \'"a{2,1}"\': a=~"a{2,1}" is not an expression of RE2: {2,1} is no count from 0 to 1000',
    ),
    (
        'x{a=~"a**"}',
        (
            'column 6, at \'"a**"\': a=~"a**" is not an expression of RE2: "*" repeats a repetition: write'
            " parentheses between them"
        ),
    ),
    (
        'x{a=~"\\\\1"}',
        'column 6, at \'"\\\\1"\': a=~"\\1" is not an expression of RE2: RE2 has no back references such as \\1',
    ),
    ('x{a=~"\\\\y"}', 'column 6, at \'"\\\\y"\': a=~"\\y" is not an expression of RE2: \\y is not an escape of RE2'),
    (
        'x{a=~"[z-a]"}',
        'column 6, at \'"[z-a]"\': a=~"[z-a]" is not an expression of RE2: z-a is a range that runs backwards',
    ),
    ('x{a=~"(?<=a)b"}', 'column 6, at \'"(?<=a)b"\': a=~"(?<=a)b" is not an expression of RE2: RE2 has no look-behind'),
    ('x{a=~"(?>a)"}', 'column 6, at \'"(?>a)"\': a=~"(?>a)" is not an expression of RE2: RE2 has no atomic groups'),
    ('x{a=~"?"}', 'column 6, at \'"?"\': a=~"?" is not an expression of RE2: "?" has nothing before it to repeat'),
    ('x{a=~"a)"}', 'column 6, at \'"a)"\': a=~"a)" is not an expression of RE2: ")" closes nothing'),
    (
        'x{a=~"[[:foo:]]"}',
        'column 6, at \'"[[:foo:]]"\': a=~"[[:foo:]]" is not an expression of RE2: [:foo:] is not a class',
    ),
    ('x{a=~"a\\\\"}', 'column 6, at \'"a\\\\"\': a=~"a\\" is not an expression of RE2: "\\" stands at the end'),
    ("rate(x[0m])", "column 7, at '[0m])': a range must be longer than 0"),
    (
        "rate(x[5m30m])",
        (
            "column 7, at '[5m30m])': \"5m30m\" is not a duration: write the largest unit first and each once,"
            " such as 1h30m"
        ),
    ),
    ("rate(x[1,5m])", "column 7, at '[1,5m])': \"1,5m\" is not a duration: write one such as 5m"),
    ("rate(x[5 m])", "column 7, at '[5 m])': \"5\" is not a duration: write one such as 5m"),
    ("rate(x[5mins])", "column 7, at '[5mins])': \"5mins\" is not a duration: write 5m"),
    ("rate(x[1hour])", "column 7, at '[1hour])': \"1hour\" is not a duration: write 1h"),
    ("5mm", "column 1, at '5mm': \"5mm\" is not a number or a duration: write one such as 5m"),
    ("1.2.3", "column 1, at '1.2.3': \"1.2.3\" is not a number or a duration: write one such as 5m"),
    ("5MB", "column 1, at '5MB': \"5MB\" is not a number or a duration: write one such as 5m"),
    ("0x", "column 1, at '0x': \"0x\" is not a number or a duration: write one such as 5m"),
    ("1e", "column 1, at '1e': \"1e\" is not a number or a duration: write one such as 5m"),
    ('x{a="\\d"}', "column 6, at '\\d\"}': \\d is not an escape of a string: write \\\\d or [0-9]"),
    ('x{a="\\."}', "column 6, at '\\.\"}': \\. is not an escape of a string: write \\\\."),
)
TAKEN: Final = (
    "x{}",
    "x > bool y",
    "x / on(a) group_left y",
    "x{a=~''}",
    "x atan2 y",
    "rate(x_total[5])",
    "anchored",
    "x{'a'='b'}",
    "{'x.y'}",
    "sum without () (x)",
    "x<5>6",
    "x{a=~'\\\\d'}",
    'x{a=~"(?<n>a)"}',
    'x{a=~"\\\\p{Greek}"}',
    "SUM(x) BY (a)",
    "-x^2",
    "x offset 5m",
    "x @ start()",
    "0x1F",
    "inf",
    "nan + 1",
    'x{a="b",}',
    "sum by (a,) (x)",
    'count_values("v", x)',
    "hour()",
    "5m",
    "x # c",
)
PIECES: Final = (
    "sum", "rate", "x", "x_total", "(", ")", "(", "[5m]", '{a="b"}', '{a=~"b.*"}', "{", "}", "by (le)", "without (a)",
    "+", "-", "*", "/", "%", "^", "==", "> bool", "bool", "and", "or", "unless", "on(a)", "on()", "ignoring(a)",
    "group_left", "group_left(b)", "group_right", "1", "0.5", "'a'", "offset 5m", "@ 5", "@ start()", ",",
    "histogram_quantile(", "topk(5,", "[5m:1m]", "inf", "nan", "count_values('v',", "quantile(", "by", "5m", "vector(",
    "scalar(", "time()", "label_replace(", "absent(", "round(", "clamp(", "=", "!=", "=~", "<", "atan2", "#c\n", "avg",
    "-5m", "1e3", "0x1f", "sum by",
)  # fmt: skip
"""Pieces of queries, which make some in any order."""
REGEX_PIECES: Final = (
    "a", "(", ")", "[", "]", "*", "+", "?", "{2}", "{2,}", "{1001}", "{3,2}", "|",
    r"\\d", r"\\", r"\\w", "[a-z]", "[z-a]",
    "[^a]", "(?i)", "(?:", "(?P<n>", "(?<n>", "(?=", "^", "$", ".", "-", "[[:alpha:]]", "[[:foo:]]",
    r"\\b", r"\\Q", r"\\E",
    r"\\z", r"\\1", r"\\x41", r"\\x{41}", "{", "}", r"\\pL", "[", "b-", r"\\012", "(?s-i:", ":", r"\\_", r"\\C", "{,3}",
    "{0}", "{500}",
)  # fmt: skip
"""The same for regular expressions, as they stand in a string."""
