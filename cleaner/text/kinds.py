"""Which everyday words exclude each other, and which nouns and verbs are special (assets/lexicon/words.toml)."""

from cleaner.text.tables import read_families, read_family, read_groups, read_set, read_table, read_words

ATTRIBUTES, MODIFIERS = read_families("attributes"), read_families("modifiers")
COLOR_NAMES = frozenset(word for group in ATTRIBUTES["color"] for word in group)
MATERIAL_WORDS = frozenset(word for name in ("material", "fabric") for group in ATTRIBUTES[name] for word in group)

FLOWERS = read_words("nouns", "flowers")
CONFUSABLE_NOUNS = (
    *read_family("nouns", "confusable"),
    *((name, *read_words("nouns", "flower_words")) for name in FLOWERS),
    *((name, *read_words("nouns", "clothes")) for name in read_words("nouns", "worn")),
    *((name, *read_words("nouns", "dish_words")) for name in read_words("nouns", "dishes")),
)
PERSONS = read_table("nouns", "persons")
SUBSTITUTE_GROUPS = read_groups("nouns", "substitutes")
CLASS_MEMBERS, ARTIFACT_MEMBERS = read_table("nouns", "class_members"), read_table("nouns", "artifact_members")
UNIQUE = read_set("nouns", "unique")
UNCOUNTABLE, MASS = read_set("nouns", "uncountable"), read_set("nouns", "uncountable", "mass")
PLURAL_ONLY, VERB_LIKE_PLURALS = read_set("nouns", "plural_only"), read_set("nouns", "verb_like_plurals")

INTRANSITIVE, TRANSITIVE = read_family("verbs", "intransitive"), read_family("verbs", "transitive")
INTRANSITIVE_ONLY, TRANSITIVE_ONLY = read_set("verbs", "intransitive_only"), read_set("verbs", "transitive_only")
COMPATIBLE_VERBS, OPPOSITE_VERBS = read_table("verbs", "compatible"), read_table("verbs", "opposites")
OPPOSITE_PARTICIPLES = read_table("verbs", "opposite_participles")
FALLBACK_TRANSITIVE = read_words("verbs", "fallback_transitive")
FALLBACK_INTRANSITIVE = read_words("verbs", "fallback_intransitive")
FALLBACK_INANIMATE = read_words("verbs", "fallback_inanimate")
POSTURES = read_words("verbs", "postures")
HARMFUL, COMPLEMENT_VERBS = read_set("verbs", "harmful"), read_set("verbs", "complement")
LIGHT_VERB_OBJECTS = read_set("verbs", "light_objects")
COMPOUND_PARTICIPLES = read_set("grammar", "compound_participles")
