"""Searches for several regular expressions at once.

All programs run side by side as one deterministic automaton, whose states are made when a text first
needs them: a text costs one look-up for each of its characters, however many patterns there are. A
caller may keep the state after a part that many texts begin with.

The order of the programs is their precedence. Once one is found for certain, those behind it do not
matter any more, and the automaton forgets them.

A state is a number. In state 0, nothing is known: any of the patterns may be found.
"""

load(":regex.bzl", "END", "JUMP", "START", "TAKE")

# The state before the first character.
FIRST_STATE = 1

_UNKNOWN_STATE = 0

# Patterns such as `a.{40}b` have exponentially many states. Usual ones have some hundreds in all.
_MAX_STATES = 5000

# Bazel keeps UTF-8 with one character for each byte; other dialects of Starlark do not. Patterns mean
# bytes.
_STRINGS_ARE_BYTES = len("é") == 2

# Behind the instructions of a program that is found.
_FOUND = 4

def new_automaton(programs):
    """Prepares a search.

    Args:
        programs: list of what `parse_pattern` returns, in order of precedence.

    Returns:
        An automaton for the other functions of this file. It grows in use.
    """
    nodes = []
    entries = []
    owners = []
    for number, program in enumerate(programs):
        # That it is found comes first, so that sorting puts it before all that it makes needless.
        entries.append(len(nodes) + 1)
        nodes.append((_FOUND, program.exact))
        nodes.extend(program.instructions)
        nodes.append((JUMP, [-len(program.instructions) - 1]))
        owners.extend([number] * (len(nodes) - len(owners)))
    automaton = struct(
        nodes = nodes,
        owners = owners,  # the numbers of the nodes' programs
        # For each node that consumes something, the nodes that are reached then, as keys.
        following = [
            _reach(nodes, [position + 1], False) if node[0] in [TAKE, END] else None
            for position, node in enumerate(nodes)
        ],
        # A search may begin at any place; this is left out of the states.
        restart = _reach(nodes, entries, False),
        after_restart = {},  # by character
        states = {},  # from nodes to numbers
        # For each state its nodes, and the next states by character.
        members = [[]],
        transitions = [{}],
    )
    _state(automaton, _reach(nodes, entries, True))
    return automaton

def advance(automaton, state, text):
    """Goes on with a search.

    Args:
        automaton: what `new_automaton` returned.
        state: `FIRST_STATE`, or the state after what comes before `text`.
        text: the characters that come next.

    Returns:
        The state after `text`.
    """
    transitions = automaton.transitions
    for char in text.elems():
        following = transitions[state].get(char)
        state = _step(automaton, state, char) if following == None else following
    return state

def find(automaton, state):
    """Tells which patterns are found in a text.

    Args:
        automaton: what `new_automaton` returned.
        state: the state after the text.

    Returns:
        A pair: the numbers of the programs whose pattern may be found, in order, and whether that of
        the last one is found for certain. Those after it are left out.
    """
    pending = list(automaton.members[state]) + automaton.restart.keys()
    reached = {}
    for _ in automaton.nodes:
        news = {position: None for position in pending if position not in reached}
        if not news:
            break
        reached.update(news)
        ends = [position for position in news if automaton.nodes[position][0] == END]
        pending = [following for position in ends for following in automaton.following[position]]
    return _answer(automaton, state, [position for position in reached if automaton.nodes[position][0] == _FOUND])

def find_below(automaton, state):
    """Tells which patterns are found in texts that all begin alike, and are longer.

    Args:
        automaton: what `new_automaton` returned.
        state: the state after what the texts begin with.

    Returns:
        As of `find`, for any of the texts; certain is what is found in all of them.
    """
    return _answer(automaton, state, list(automaton.members[state]) + automaton.restart.keys())

def _answer(automaton, state, positions):
    if state == _UNKNOWN_STATE:
        return range(automaton.owners[-1] + 1 if automaton.owners else 0), False
    positions = _prune(automaton, positions)
    certain = bool(positions) and automaton.nodes[positions[-1]] == (_FOUND, True)
    return {automaton.owners[position]: None for position in positions}.keys(), certain

def _step(automaton, state, char):
    """Finds the state after `state` and `char`, and remembers it."""
    if char not in automaton.after_restart:
        automaton.after_restart[char] = _consume(automaton, automaton.restart, char)
    reached = dict(automaton.after_restart[char])
    reached.update(_consume(automaton, automaton.members[state], char))
    is_odd = (char < " " and char not in "\t\n\r") or (char > "~" and not _STRINGS_ARE_BYTES)
    following = _UNKNOWN_STATE if is_odd or state == _UNKNOWN_STATE else _state(automaton, reached)
    automaton.transitions[state][char] = following
    return following

def _consume(automaton, positions, char):
    """The nodes that are reached from those at `positions` by `char`."""
    reached = {}
    for position in positions:
        node = automaton.nodes[position]
        if node[0] == _FOUND:
            reached[position] = None
        elif node[0] == TAKE and (char in node[1]) != node[2]:
            reached.update(automaton.following[position])
    return reached

def _state(automaton, positions):
    """The number of the state with the nodes at `positions`."""
    members = tuple(_prune(automaton, positions))
    state = automaton.states.get(members)
    if state == None:
        state = len(automaton.members)
        if state > _MAX_STATES:
            return _UNKNOWN_STATE
        automaton.states[members] = state
        automaton.members.append(members)
        automaton.transitions.append({})
    return state

def _prune(automaton, positions):
    """Sorts, and leaves out what does not matter any more, because a program is found."""
    kept = []
    found = None
    for position in sorted(positions):
        if automaton.owners[position] == found:
            continue
        kept.append(position)
        node = automaton.nodes[position]
        if node[0] == _FOUND:
            if node[1]:
                break
            found = automaton.owners[position]
    return kept

def _reach(nodes, positions, at_start):
    """The nodes that consume something, or are the end of a program, and are reached from `positions`.

    Returns:
        A dict with the positions of the nodes as keys.
    """
    reached = {}
    pending = positions
    for _ in nodes:
        news = {position: None for position in pending if position not in reached}
        if not news:
            break
        reached.update(news)
        pending = [
            position + offset
            for position in news
            for offset in (nodes[position][1] if nodes[position][0] == JUMP else [1] if at_start and nodes[position][0] == START else [])
        ]
    return {position: None for position in reached if nodes[position][0] not in [JUMP, START]}
