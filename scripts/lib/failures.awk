# Reads what tap's reporter `tap` wrote; prints each failed assertion with the tests around it and what is said of it.
# A line "not ok ... # time=" is a test that contains failed ones, unless nothing in it failed; assertions bear no time.
function indent(line) { match(line, /^ */); return RLENGTH / 4 }
/^ *# Subtest: / { depth = indent($0); sub(/^ *# Subtest: /, ""); name[depth] = $0; next }
/^ *not ok / && !/ # time=/ {
  depth = indent($0)
  sub(/^ *not ok [0-9]+ - /, "")
  where = ""
  for (i = 0; i < depth; i++) where = where name[i] " > "
  print "FAILED " where $0
  said = 0
  next
}
/^ *(ok|not ok|1\.\.|# )/ { said = -1; next }
# Of a diagnostic: all but where in the source it was found.
said >= 0 && /^ *---$/ { said = 1; hidden = 0; base = match($0, /-/); next }
said >= 1 && /^ *\.\.\.$/ { said = -1; next }
said >= 1 {
  if (match($0, /[^ ]/) == base) hidden = /^ *(at|stack|source|tapCaught):/
  if (!hidden && said++ < 20) print "    " substr($0, base)
}
