"""Hand-made tables of general English that WordNet lacks: what excludes what, and which words must never be dropped.

A family lists groups of words; words of one group are too close to stand for each other, words of different groups
exclude each other. The first word of a group is the one that is drawn.
"""

from __future__ import annotations

Family = tuple[tuple[str, ...], ...]


def words(text: str) -> tuple[str, ...]:
    """Return the words of a table written as one string."""
    return tuple(text.split())


def _family(text: str) -> Family:
    """Read "a/b, c" as the groups (a, b) and (c,)."""
    return tuple(tuple(word.strip() for word in group.split("/")) for group in text.split(","))


COLOURS = _family(
    "red/crimson/scarlet/maroon/burgundy/ruby, blue/navy/azure/turquoise/teal/cyan/indigo, green/olive/emerald/teal/turquoise,"
    " yellow/golden/gold/blonde/blond, orange/amber/tangerine, purple/violet/lavender/lilac/magenta/indigo, "
    " pink/rose/magenta/fuchsia/coral, brown/tan/beige/bronze/chestnut, black/ebony/jet, white/ivory/cream/snowy,"
    " gray/grey/silver"
)
# Families of adjectives; nouns of material ("a glass door") are looked up here too.
ATTRIBUTES: dict[str, Family] = {
    "colour": COLOURS,
    "size": _family("small/little/tiny/miniature/wee/mini, large/big/huge/giant/massive/enormous/gigantic/great"),
    "material": _family(
        "wooden/wood/bamboo/timber, metal/steel/iron/metallic/stainless/aluminum, plastic/vinyl, glass/crystal, "
        "stone/marble/granite/concrete/brick, leather, woolen/wool/knitted/woollen, paper/cardboard,"
        " ceramic/porcelain/clay, silk/satin"
    ),
    "pattern": _family("striped, dotted/spotted/polka-dot, checkered/checked/plaid, plain/solid, floral/flowery"),
    "age": _family("young/teenage/youthful/baby, old/elderly/aged/senior"),
    "era": _family(
        "modern/contemporary/new/futuristic, ancient/old/antique/medieval/historic/historical/old-fashioned"
    ),
    "new": _family("new/fresh/brand-new, old/antique/vintage/ancient/used/worn/weathered/aged/retro/classic"),
    "weather": _family("sunny/bright, cloudy/overcast/gray/grey, rainy/wet, snowy, foggy/misty, stormy, windy"),
    "sky": _family("clear/cloudless/blue/sunny, cloudy/overcast/stormy/dramatic/gray"),
    "temperature": _family("hot/warm/boiling/tropical, cold/cool/chilly/icy/frozen/freezing"),
    "light": _family("dark/dim/black/shadowy, bright/sunny/light/illuminated/lit"),
    "mood": _family(
        "happy/smiling/cheerful/joyful/excited/laughing/glad, sad/crying/unhappy/upset, angry/furious, sleepy/tired"
    ),
    "looks": _family(
        "beautiful/pretty/lovely/gorgeous/attractive/stunning/handsome/elegant/stylish/cute/adorable, ugly/hideous"
    ),
    "length": _family("long/lengthy, short/brief"),
    "height": _family("tall/high/towering, low/short/small"),
    "width": _family("wide/broad, narrow/thin"),
    "build": _family("thin/slim/skinny/slender, fat/overweight/obese"),
    "thickness": _family("thin/fine, thick/dense/heavy"),
    "wetness": _family("wet/rainy/damp/soaked, dry/arid"),
    "open": _family("open/opened, closed/shut"),
    "full": _family("full/crowded/busy/packed, empty/deserted/vacant/abandoned"),
    "clean": _family("clean/neat/tidy/spotless, dirty/messy/muddy/dusty"),
    "gender": _family("female, male"),
    "sex": _family("feminine, masculine"),
    "place": _family("outdoor/outside/exterior, indoor/inside/interior"),
    "side": _family("left, right"),
    "level": _family("upper/top, lower/bottom"),
    "end": _family("front, back/rear"),
    "point": _family("northern/north, southern/south"),
    "compass": _family("eastern/east, western/west"),
    "shape": _family("round/circular/oval, square, triangular, rectangular"),
    "speed": _family("fast/quick/rapid/speeding, slow"),
    "noise": _family("quiet/silent/calm/peaceful/tranquil, noisy/loud"),
    "water": _family("calm/still/smooth/quiet/tranquil, rough/stormy/choppy"),
    "wealth": _family("rich/wealthy/luxury/luxurious/expensive/fancy, poor/cheap/shabby"),
    "hair": _family("curly/wavy, straight"),
    "touch": _family("soft/fluffy, hard/stiff"),
    "taste": _family("sweet/sugary, bitter/sour, salty/spicy/savory"),
    "ripe": _family("fresh/ripe, rotten/stale/spoiled"),
    "cooked": _family("cooked/baked/roasted/fried/grilled, raw/uncooked"),
    "worth": _family("good/great/excellent/perfect/amazing/awesome/nice/best/wonderful, bad/terrible/awful/worst"),
    "strength": _family("strong/powerful/muscular, weak/frail"),
    "life": _family("alive/living/live, dead"),
    "ease": _family("easy/simple, difficult/hard/complicated/complex"),
    "early": _family("early, late"),
    "order": _family("first, second, third, last/final"),
    "colourful": _family("colorful/colourful/vibrant/vivid/multicolored, colorless/monochrome/gray/black-and-white"),
    "wild": _family("wild/feral, tame/domestic"),
    "town": _family("urban, rural/rustic"),
    "public": _family("public, private/personal"),
    "military": _family("military, civilian"),
    "weight": _family("heavy, light/lightweight"),
    "depth": _family("deep, shallow"),
    "tone": _family("light/pale/pastel, dark/deep"),
    "dress": _family("casual/informal, formal"),
    "custom": _family("traditional/classic/vintage/retro, modern/futuristic/contemporary"),
    "danger": _family("safe, dangerous/risky"),
    "flat": _family("flat/level, steep/hilly/mountainous"),
    "home": _family("local, foreign"),
    "natural": _family("natural, artificial/man-made/fake"),
    "residential": _family("residential, industrial/commercial"),
    "married": _family("married/wedded, single/unmarried"),
    "alone": _family("single/lone/lonely/solitary, double"),
    "lush": _family("lush/green/leafy, barren/bare/dry"),
    "famous": _family("famous/popular/iconic, unknown/unpopular"),
    "special": _family("special/unique/unusual, ordinary/common"),
    "funny": _family("funny/humorous/fun, serious"),
    "rough": _family("smooth, rough/rugged/rocky"),
    "real": _family("real/genuine/realistic, fictional/fake/imaginary"),
    "amateur": _family("professional, amateur"),
    "total": _family("full/whole/entire/complete, partial/half"),
}
TWINS: Family = _family(
    # Everyday things too alike in a picture for one to make the other false, whatever WordNet says.
    "cup/mug/tankard/glass/goblet/chalice/teacup/beaker, hat/cap/beanie/bonnet/headgear, boat/ship/vessel/yacht/sailboat/ferry/canoe,"
    " bus/coach/minibus, car/automobile/auto/vehicle/sedan/taxi/cab/limousine/van/jeep/suv, chair/seat/armchair/stool/bench/throne,"
    " sofa/couch/loveseat, bottle/flask/jar/vial/jug/pitcher/carafe, umbrella/parasol/sunshade, cat/kitten/kitty,"
    " dog/puppy/pup/hound/wolf, house/home/cottage/building/cabin/villa/mansion/hut/residence/bungalow/apartment,"
    " flower/blossom/bloom/rose/tulip/daisy/petal/bouquet/floral, mushroom/toadstool/fungus, tree/shrub/bush/palm/pine/oak/forest,"
    " rock/stone/boulder/pebble, bag/purse/handbag/sack/backpack/pouch/satchel, street/road/highway/lane/avenue/alley,"
    " forest/woods/woodland/jungle/wood/rainforest, sea/ocean/coast/beach/shore/seaside/seashore/water/wave,"
    " beach/sand/shore/coast/seaside/seashore, river/stream/creek/water, lake/pond/water/reservoir, "
    " photo/picture/image/photograph/snapshot/pic/shot/portrait/view/photography, kid/child/boy/girl/baby/toddler/infant/youngster,"
    " man/guy/gentleman/male/dude/fellow/father/husband/son/groom, woman/lady/female/mother/wife/daughter/bride,"
    " person/people/human/man/woman/child/individual/boy/girl, shop/store/market/boutique/supermarket/mall,"
    " picture/painting/drawing/illustration/artwork/art/sketch, movie/film/video/cinema, bike/bicycle/cycle/motorcycle/motorbike,"
    " plane/airplane/aeroplane/aircraft/jet/airliner, truck/lorry/pickup, train/railway/locomotive/tram, coat/jacket/blazer/parka,"
    " shirt/t-shirt/blouse/top/sweater/tee, dress/gown/skirt/robe, shoe/boot/sneaker/sandal/footwear, pants/trousers/jeans,"
    " carpet/rug/mat, cushion/pillow, path/trail/track/walkway/footpath/road, hill/mountain/peak/mount/slope,"
    " city/town/village/metropolis/downtown, meal/food/dinner/lunch/breakfast/dish/cuisine, cake/pastry/cupcake/dessert,"
    " sunset/sunrise/dusk/dawn/twilight/sun/evening, night/evening/dark, autumn/fall, phone/telephone/smartphone/cellphone,"
    " computer/laptop/notebook/pc, lamp/light/lantern, wall/fence, bird/fowl, cow/bull/ox/cattle/calf, sheep/lamb/ewe/goat,"
    " pig/hog/boar/piglet, hen/chicken/rooster/cock/chick, duck/goose/swan, rabbit/bunny/hare, mouse/rat, frog/toad, horse/pony/foal,"
    " donkey/mule, turtle/tortoise, alligator/crocodile, monkey/ape/chimpanzee/gorilla, leopard/cheetah/jaguar/panther,"
    " butterfly/moth, bee/wasp, snail/slug, lemon/lime, snow/ice/frost, grass/lawn/meadow/field/pasture, ground/floor/earth/soil/land/dirt,"
    " sky/cloud/air/heaven, player/athlete/footballer/teammate/sportsman, team/club/squad, game/match/competition/tournament/contest/sport,"
    " actor/actress/celebrity/star/artist/performer/model, singer/musician/vocalist/artist/performer/band, politician/leader/minister/president,"
    " party/celebration/festival/event, ball/sphere/football/basketball/soccer, box/crate/package/carton/parcel, bowl/dish/plate/basin,"
    " knife/blade/dagger, gun/rifle/pistol/weapon, window/glass, door/gate/doorway/entrance, pot/pan/kettle/vessel, moon/crescent,"
    " star/sun, clock/watch/timepiece, key/keyboard, desk/table/counter, chest/cabinet/drawer, couple/pair, house/barn,"
    " cafe/restaurant/bar/pub/diner, hotel/inn/resort, church/cathedral/chapel/temple, castle/palace/fortress, bride/groom/couple,"
    " ring/band/jewelry, necklace/jewelry/chain, eye/eyes, wool/yarn, picture/poster, cloth/fabric/textile, garden/yard/park/backyard, "
    " book/novel/hardback/paperback, banana/plantain, rocket/spaceship/spacecraft, tile/floor, gravel/pebble, carpet/floor,"
    " table/wood/floor, teacup/tea, star/planet, gold/yellow, day/morning/noon, photo/poster/sign, map/poster, painting/portrait,"
    " student/pupil, teacher/professor, doctor/physician, police/officer/cop, soldier/army/trooper"
)
# Persons: who is certainly not whom. Roles ("actor") exclude neither men nor women.
PERSONS: dict[str, tuple[str, ...]] = {
    "man": ("woman", "girl", "horse", "dog"),
    "guy": ("woman", "girl"),
    "gentleman": ("lady", "girl"),
    "boy": ("girl", "woman", "dog"),
    "woman": ("man", "boy", "dog", "horse"),
    "lady": ("gentleman", "boy"),
    "girl": ("boy", "man", "cat"),
    "mother": ("father", "grandfather"),
    "father": ("mother", "grandmother"),
    "mom": ("dad", "grandfather"),
    "dad": ("mom", "grandmother"),
    "son": ("daughter",),
    "daughter": ("son",),
    "husband": ("wife",),
    "wife": ("husband",),
    "brother": ("sister",),
    "sister": ("brother",),
    "king": ("queen",),
    "queen": ("king",),
    "prince": ("princess",),
    "princess": ("prince",),
    "bride": ("fireman", "soldier", "clown"),
    "groom": ("nurse", "clown", "girl"),
    "actress": ("fireman", "fisherman", "clown"),
    "person": ("dog", "cat", "horse", "robot", "bear", "elephant"),
    "people": ("dog", "cat", "horse", "robot", "sheep", "cow"),
    "human": ("robot", "dog", "horse"),
    "child": ("dog", "cat", "robot", "adult"),
    "kid": ("dog", "cat", "robot", "adult"),
    "baby": ("dog", "cat", "robot", "adult"),
    "toddler": ("dog", "cat", "adult"),
    "friend": ("stranger", "enemy", "robot"),
    "couple": ("dog", "cat", "robot"),
    "family": ("dog", "robot", "elephant"),
    "crowd": ("dog", "sheep", "robot"),
    "fan": ("farmer", "nurse", "soldier"),
    "model": ("farmer", "nurse", "soldier"),
    "police": ("nurses", "farmers", "dancers"),
}
# Families of verbs, by whether an object follows.
INTRANSITIVE: Family = _family(
    "sit/perch, stand/wait/pose/stay, sleep/lie/rest/relax/lay/nap/lounge, kneel/crouch/squat, "
    "walk/stroll/hike/wander/march/go/travel/move/step, run/race/sprint/jog/chase/rush, swim/float/dive/bathe/paddle/surf, fly/soar/hover,"
    " jump/leap/hop, climb, dance/perform, crawl, skate/ski, cry/weep, sing/perform, eat/dine/feed/graze, read/study"
)
TRANSITIVE: Family = _family(
    "hold/carry/use/have/take/show/display/grab/bring/feature/contain, throw/drop/toss, eat/bite/taste/enjoy, wash/clean, cut/slice/chop,"
    " paint/draw/decorate/sketch, read/study, kick/hit/strike, push, pull/drag, buy/purchase/get/order, sell, hide/cover,"
    " burn, break/destroy/smash"
)
# Verbs -> verbs that make the clause false.
VERB_PAIRS: dict[str, tuple[str, ...]] = {
    verb: tuple(others.split("/"))
    for entry in (
        "arrive leave/depart, come leave/depart/go, enter leave/exit, open close/shut/finish/end/stop, "
        "win/find/get/keep/bear lose, buy/purchase sell, give take/receive, start/begin/launch finish/end/stop, "
        "rise fall/drop/sink, push pull, love/like/enjoy/adore hate/dislike, smile/laugh/grin cry/frown, "
        "build/construct/create destroy/demolish, make destroy/demolish/break, wear/don carry/sell/remove, "
        "play watch/skip, attend leave/skip/miss, ride push/lead/wash, watch/feed/greet/control ignore, "
        "celebrate mourn, show/display/reveal/feature/share/use/tell hide, catch/grab/hold drop/throw, live die, "
        "talk/speak/sing/shout/chat/wake/look sleep, drive push/wash/repair, help ignore/hurt, follow lead/flee, "
        "lead follow, join/wait/return leave, visit leave/avoid, float/swim sink, work sleep/play, lie stand, "
        "kiss/hug push/ignore, gather scatter, grow shrink, meet avoid/ignore, hang fall, perform sleep/rest, "
        "pose sleep/run, promote criticize, shine fade, increase decrease, add/put/set remove, fill empty, "
        "remember/learn forget, accept reject/refuse, attack defend, defend/protect attack, borrow lend, "
        "cook burn, prepare burn/refuse, drink spill, fly/land crash, cross/face/surround/tour avoid, save waste, "
        "support oppose, train rest, travel/go stay, cool heat, melt freeze, clean/wash dirty, see ignore/miss, "
        "want/try refuse, need reject, take return, score/reach miss, bloom wilt/die, relax work/fight, "
        "move/turn stop, walk stop/sit, bring take, include exclude/lack, overlook face, appear disappear, "
        "eat drop/sell, read burn/write, write burn/read, rest work/run"
    ).split(", ")
    for verbs, others in [entry.split(" ")]
    for verb in verbs.split("/")
}
# Prepositions of one or more words -> those that make the phrase false.
_SIDES = {
    f"{a}{s}{b}": s
    for a in ("", "to the ", "on the ", "at the ")
    for s in ("left", "right")
    for b in (" of", " side of")
}
RELATIONS: dict[str, tuple[str, ...]] = {
    **{phrase: (phrase.replace(s, "right" if s == "left" else "left"),) for phrase, s in _SIDES.items()},
    "above": ("below",),
    "below": ("above",),
    "over": ("under",),
    "under": ("above", "on top of"),
    "beneath": ("above",),
    "underneath": ("above",),
    "on top of": ("under", "below"),
    "on": ("under",),
    "onto": ("off",),
    "upon": ("under",),
    "atop": ("under", "below"),
    "in front of": ("behind",),
    "behind": ("in front of",),
    "inside": ("outside",),
    "outside": ("inside",),
    "outside of": ("inside",),
    "inside of": ("outside of",),
    "within": ("outside",),
    "near": ("far from",),
    "next to": ("far from",),
    "close to": ("far from",),
    "beside": ("far from",),
    "alongside": ("far from",),
    "far from": ("near", "next to"),
    "before": ("after",),
    "after": ("before",),
    "during": ("before", "after"),
    "up": ("down",),
    "down": ("up",),
    "into": ("out of",),
    "out of": ("into",),
    "towards": ("away from",),
    "toward": ("away from",),
    "away from": ("towards",),
    "along": ("far from",),
    "across": ("far from",),
    "through": ("around",),
    "with": ("without",),
    "in": ("outside",),
    "at": ("far from", "away from"),
    "from": ("to",),
    "around": ("far from",),
    "against": ("far from",),
    "between": ("far from",),
    "among": ("far from",),
}
# Phrases that act as one preposition although they have no opposite.
OTHER_RELATIONS = (
    "in the middle of", "in the center of", "in the centre of", "as part of", "prior to", "ahead of", "because of", "due to",
    "in the background of", "in the foreground of", "instead of", "such as", "along with", "together with", "according to",
    "at the end of", "at the top of", "at the bottom of", "on the back of", "on the front of", "on the edge of",
    "on the side of", "by the side of", "off of", "as well as", "thanks to", "out from", "up to", "based on", "by way of",
)  # fmt: skip
NUMBERS = words("one two three four five six seven eight nine ten eleven twelve")
NEGATIONS = frozenset(
    words(
        "no not n't n’t never without nobody nothing none neither nor nowhere cannot hardly barely scarcely lack lacks lacking lacked"
        " except unless absent missing rarely seldom non fails"
    )
)
QUANTIFIERS = frozenset(
    words(
        "all every each everyone everything everybody most few fewer fewest less least only just both either any anyone anything half"
        " almost nearly exactly whole entire majority if would could might may should than or vs versus between whether"
    )
)
# "A fake gun" is no gun: adjectives that cannot be dropped, and those that narrow a definite phrase to one thing.
PRIVATIVE = frozenset(
    words(
        "fake toy stuffed artificial imitation faux former future ex alleged supposed would-be false mock imaginary virtual pretend"
        " inflatable cartoon animated fictional plush dead unborn potential possible counterfeit synthetic simulated mini miniature"
        " model lego origami painted carved drawn printed embroidered hollow unfinished failed retired late deceased extinct"
        " first second third fourth fifth last next final other another same only own own sole best worst most more less fewer such"
        " few many much several very certain various different double triple half past previous upcoming live general main real"
        " biological musical noble civil social digital electronic electric mobile hot-air military political religious public"
        " nuclear solar fast open hard soft short high low dry free visual special olympic global national international"
        " left right top upper lower"
    )
)
# "A photo of X" shows X. A painting, a statue or a toy does not.
PHOTOS = frozenset(words("photo photograph picture image"))
# "A group of women": the thing to exchange is the second noun.
CONTAINERS = frozenset(
    words(
        "group pair bunch set lot number series row couple variety selection collection piece cup glass bottle bowl plate pile slice"
        " stack line array crowd herd flock kind type sort part side top bottom front back view close-up photo photograph picture"
        " image portrait illustration painting drawing shot member edge end center middle corner rest cover bit acre dozen hundred"
        " thousand million vector silhouette background interior exterior front range range symbol version example style"
    )
)
# Nouns that are too general, or too little of a thing, to be exchanged or drawn.
VAGUE = frozenset(
    words(
        "thing stuff way kind type sort lot lots bit part side front back top bottom end middle center edge number rest case use way time"
        " today tomorrow yesterday something anything everything nothing someone anyone everyone one ones body work place area left"
        " right here there me you he she it they we all none some home back up down off out total person object location unit"
        " organism entity whole content contents variety various example version moment look feature amount piece item space"
    )
)
# What may stand for what in a caption, as people would say it; the classes of WordNet serve where no list fits.
KINDS: tuple[tuple[str, ...], ...] = tuple(
    words(line)
    for line in (
        "dog cat horse cow sheep pig elephant lion tiger bear monkey rabbit giraffe zebra kangaroo fox wolf deer squirrel panda mouse goat camel",
        "bird owl eagle parrot penguin flamingo duck swan pigeon turtle snake frog crocodile lizard fish shark whale dolphin",
        "butterfly bee spider snail ant beetle dragonfly ladybug",
        "apple banana orange pear strawberry lemon grape cherry peach pineapple watermelon mango",
        "carrot potato tomato onion cucumber pumpkin cabbage mushroom pepper",
        "cake pizza sandwich burger salad soup pie cookie pancake sausage egg steak",
        "bread cheese rice pasta meat butter chocolate honey sugar salt",
        "coffee tea milk beer wine juice water lemonade",
        "car bus truck train boat bicycle airplane helicopter tractor motorcycle rocket balloon",
        "chair table bed sofa desk bench shelf wardrobe mirror lamp",
        "shirt hat coat dress shoe sock scarf glove skirt jacket sweater helmet belt bikini",
        "guitar piano violin drum trumpet flute",
        "football basketball tennis golf hockey baseball rugby cricket volleyball",
        "cup bottle bowl plate spoon fork knife pot basket bucket kettle",
        "ball book phone camera clock umbrella key bag box computer pen candle kite bottle lamp toy hammer",
        "house church castle barn tent lighthouse hotel tower school hospital factory",
        "window door roof stair balcony fence gate chimney",
        "kitchen bathroom bedroom office garage classroom basement library",
        "beach forest desert mountain lake river field island jungle cave valley",
        "city farm village airport park garden",
        "street bridge railway tunnel stairs",
        "grass sand snow mud gravel ice",
        "tree flower mushroom cactus rock",
        "rose tulip sunflower daisy orchid",
        "eye ear nose mouth hand foot knee finger shoulder",
        "head arm leg back tail",
        "sun moon star cloud rainbow lightning",
        "winter summer spring autumn",
        "morning night noon evening",
        "day night",
        "monday tuesday wednesday thursday friday saturday sunday",
        "christmas halloween easter",
        "wedding funeral graduation picnic",
        "concert parade race auction lecture picnic",
        "film book song play game",
        "premiere funeral picnic wedding",
        "actor chef farmer nurse soldier dancer teacher fisherman pilot clown firefighter",
        "artist chef farmer nurse soldier teacher fisherman pilot mechanic",
        "player nurse chef fisherman soldier teacher waiter",
        "politician dancer chef clown fisherman skater",
        "singer chef soldier nurse fisherman boxer",
        "doctor farmer chef dancer soldier pilot",
        "team orchestra choir family",
        "gold silver wood paper stone glass leather plastic",
        "photo map letter newspaper stamp",
        "poster map flag newspaper mirror",
        "sign flag lamp mirror clock",
        "pattern portrait landscape map",
        "smile frown beard mustache",
        "love anger sorrow fear",
        "rain snow fog wind sunshine",
        "sky ground sea forest",
        "sea desert forest field",
        "wall ceiling floor roof",
        "sunset storm noon",
        "music poetry dance",
        "business sport music",
    )
)
