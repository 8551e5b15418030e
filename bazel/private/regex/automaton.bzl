"""Searches for several regular expressions at once.

All programs run in parallel as one lazy DFA: states are built when a text first reaches them. Searching
a text costs one look-up per character, however many patterns there are. A caller can cache the state
after a prefix that many texts share.

Programs are in order of precedence. After a certain match, later programs no longer matter, and the
states drop them.

A state is a number. State 0 means unknown: any of the patterns may match.
"""

load(":parser.bzl", "END", "JUMP", "START", "TAKE")

# The state before the first character.
FIRST_STATE = 1

_UNKNOWN_STATE = 0

# Patterns such as `a.{40}b` have exponentially many states. Typical patterns need a few hundred in total.
_MAX_STATES = 5000

# Bazel stores each byte of UTF-8 as one character; other implementations of Starlark do not. Patterns
# match bytes.
_STRINGS_ARE_BYTES = len("é") == 2

# The opcode after a program's last instruction: the program matches.
_FOUND = 4

def new_automaton(programs):
    """Prepares a search.

    Args:
        programs: list of programs from `parse_pattern`, in order of precedence.

    Returns:
        An automaton for the other functions of this file. Searching adds states to it.
    """
    nodes = []
    entries = []
    owners = []
    for number, program in enumerate(programs):
        # _FOUND comes first, so that it sorts before the nodes that it makes irrelevant (`_prune`).
        entries.append(len(nodes) + 1)
        nodes.append((_FOUND, program.exact))
        nodes.extend(program.instructions)
        nodes.append((JUMP, [-len(program.instructions) - 1]))
        owners.extend([number] * (len(nodes) - len(owners)))
    automaton = struct(
        nodes = nodes,
        owners = owners,  # the index of each node's program
        # For each TAKE and END node, the nodes that follow it, as keys.
        following = [
            _reach(nodes, [position + 1], False) if node[0] in [TAKE, END] else None
            for position, node in enumerate(nodes)
        ],
        # The nodes of a search that starts after the current character. States do not contain them.
        restart = _reach(nodes, entries, False),
        after_restart = {},  # by character
        states = {},  # from nodes to state numbers
        # The nodes of each state, and its transitions by character.
        members = [[]],
        transitions = [{}],
    )
    _state(automaton, _reach(nodes, entries, True))
    return automaton

def advance(automaton, state, text):
    """Continues a search.

    Args:
        automaton: an automaton from `new_automaton`.
        state: `FIRST_STATE`, or the state after the preceding text.
        text: the next characters.

    Returns:
        The state after `text`.
    """
    transitions = automaton.transitions
    for char in text.elems():
        following = transitions[state].get(char)
        state = _step(automaton, state, char) if following == None else following
    return state

def find(automaton, state):
    """Finds the patterns that match a text.

    Args:
        automaton: an automaton from `new_automaton`.
        state: the state after the text.

    Returns:
        A pair: a tuple with the indices of the programs that may match, in order, up to the first one
        that certainly does; and whether the last of them certainly matches.
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
    """Finds the patterns that match any text with a given prefix, other than the prefix itself.

    Args:
        automaton: an automaton from `new_automaton`.
        state: the state after the prefix.

    Returns:
        As `find`. A match is certain if all of the texts match.
    """
    return _answer(automaton, state, list(automaton.members[state]) + automaton.restart.keys())

def _answer(automaton, state, positions):
    if state == _UNKNOWN_STATE:
        return tuple(range(automaton.owners[-1] + 1 if automaton.owners else 0)), False
    positions = _prune(automaton, positions)
    certain = bool(positions) and automaton.nodes[positions[-1]] == (_FOUND, True)
    return tuple({automaton.owners[position]: None for position in positions}), certain

def _step(automaton, state, char):
    """Computes and caches the transition from `state` on `char`."""
    if char not in automaton.after_restart:
        automaton.after_restart[char] = _consume(automaton, automaton.restart, char)
    reached = dict(automaton.after_restart[char])
    reached.update(_consume(automaton, automaton.members[state], char))
    is_odd = (char < " " and char not in "\t\n\r") or (char > "~" and not _STRINGS_ARE_BYTES)
    following = _UNKNOWN_STATE if is_odd or state == _UNKNOWN_STATE else _state(automaton, reached)
    automaton.transitions[state][char] = following
    return following

def _consume(automaton, positions, char):
    """The nodes reached from `positions` on `char`."""
    reached = {}
    for position in positions:
        node = automaton.nodes[position]
        if node[0] == _FOUND:
            reached[position] = None
        elif node[0] == TAKE and (char in node[1]) != node[2]:
            reached.update(automaton.following[position])
    return reached

def _state(automaton, positions):
    """The number of the state whose nodes are `positions`."""
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
    """Sorts the positions, and drops those that no longer matter because a program matches."""
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
    """Follows JUMP (and START, if `at_start`) from `positions`.

    Returns:
        The TAKE, END and _FOUND nodes that are reached, as the keys of a dict.
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
