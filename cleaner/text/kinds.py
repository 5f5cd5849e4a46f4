"""Hand-written tables of which everyday words exclude each other; WordNet lacks most of it.

A family is a tuple of groups of words: words of one group are too close to replace each other, words of different
groups exclude each other. The first word of a group is the replacement.
"""

from __future__ import annotations

Family = tuple[tuple[str, ...], ...]


def split_words(text: str) -> tuple[str, ...]:
    """Return the words of a table written as one string."""
    return tuple(text.split())


def parse_family(text: str) -> Family:
    """Read "a/b, c" as the groups (a, b) and (c,)."""
    return tuple(tuple(word.strip() for word in group.split("/")) for group in text.split(","))


def parse_table(text: str) -> dict[str, tuple[str, ...]]:
    """Read "a/b: c d, e: f" as a and b -> (c, d), e -> (f,)."""
    table: dict[str, tuple[str, ...]] = {}
    for entry in text.split(","):
        keys, _, values = entry.partition(":")
        for key in keys.strip().split("/"):
            table[key] = (*table.get(key, ()), *split_words(values))
    return table


COLOR_FAMILY = parse_family(
    "red/crimson/scarlet/maroon/burgundy/ruby, blue/navy/azure/cobalt/turquoise/teal/cyan/indigo, "
    "green/olive/emerald/jade/teal/turquoise, yellow/golden/gold, orange/amber/tangerine, "
    "purple/violet/lavender/lilac/magenta/indigo, pink/rosy/rose/magenta/fuchsia/coral, "
    "brown/tan/beige/bronze/chestnut, black/ebony/jet, white/ivory/cream/snowy, gray/grey/silver"
)
COLOR_NAMES = frozenset(word for group in COLOR_FAMILY for word in group)
# Families of adjectives, and of nouns of material ("a glass door").
ATTRIBUTES: dict[str, Family] = {
    "color": COLOR_FAMILY,
    "hair color": parse_family("blonde/blond, brunette"),
    "most": parse_family("most, least"),
    "more": parse_family("more, fewer/less"),
    "largest": parse_family("largest/biggest/greatest/huge, smallest/tiniest"),
    "larger": parse_family("larger/bigger, smaller"),
    "newest": parse_family("newest/latest/youngest, oldest"),
    "newer": parse_family("older, younger/newer"),
    "best": parse_family("best/greatest/finest/nicest/coolest/cutest, worst"),
    "better": parse_family("better/nicer, worse"),
    "longest": parse_family("longest/tallest, shortest"),
    "highest": parse_family("highest, lowest"),
    "higher": parse_family("higher, lower"),
    "fastest": parse_family("fastest, slowest"),
    "hottest": parse_family("hottest/warmest, coldest/coolest"),
    "warmer": parse_family("warmer/hotter, colder/cooler"),
    "major": parse_family("major/main/important, minor/unimportant"),
    "painted": parse_family("colored/coloured, colorless/gray"),
    "brightest": parse_family("brightest, darkest/dimmest"),
    "clever": parse_family("clever/smart/intelligent, stupid/silly"),
    "health": parse_family("healthy, unhealthy/sick/ill"),
    "ornate": parse_family("ornate/decorative/elaborate/decorated, plain/simple"),
    "delicious": parse_family("delicious/tasty/yummy, disgusting"),
    "shine": parse_family("shiny/glossy/glittering, dull/matte"),
    "skin": parse_family("bald, hairy/furry/fluffy/bearded"),
    "data": parse_family("digital, analog"),
    "homemade": parse_family("homemade/handmade, factory-made"),
    "inner": parse_family("inner, outer"),
    "interest": parse_family("interesting/exciting/fascinating/spectacular/dramatic/inspirational, boring/dull"),
    "faith": parse_family("religious/sacred/holy, secular"),
    "flight": parse_family("aerial, underwater"),
    "scenery": parse_family("scenic/picturesque/magical, ugly/dreary"),
    "rank": parse_family("senior, junior"),
    "fashion": parse_family("fashionable/trendy/stylish/chic, unfashionable/outdated"),
    "rare": parse_family("rare, common"),
    "strange": parse_family("strange/weird/odd/bizarre, normal"),
    "distance": parse_family("nearby/close, distant/remote"),
    "dressed": parse_family("nude/naked/bare, clothed"),
    "friendly": parse_family("friendly, hostile/unfriendly"),
    "size": parse_family("small/little/tiny/miniature/wee/mini, large/big/huge/giant/massive/enormous/gigantic/great"),
    "material": parse_family(
        "wooden/wood/bamboo/timber, metal/steel/iron/metallic/stainless/aluminum, plastic/vinyl, glass/crystal, "
        "stone/marble/granite/concrete/brick, ceramic/porcelain/clay"
    ),
    "fabric": parse_family("leather, woolen/wool/knitted/woollen, silk/satin, cotton/denim, paper/cardboard"),
    "pattern": parse_family(
        "striped/stripy/banded/stripey, dotted/spotted/speckled/polka-dot, checkered/checked/plaid, plain/solid, "
        "floral/flowery"
    ),
    "age": parse_family("young/teenage/youthful/baby, old/elderly/aged/senior"),
    "era": parse_family(
        "modern/contemporary/new/futuristic, ancient/old/antique/medieval/historic/historical/old-fashioned"
    ),
    "new": parse_family("new/fresh/brand-new, old/antique/vintage/ancient/used/worn/weathered/aged/retro/classic"),
    "weather": parse_family("sunny/bright, cloudy/overcast/gray/grey, rainy/wet, snowy, foggy/misty, stormy, windy"),
    "sky": parse_family("clear/cloudless/blue/sunny, cloudy/overcast/stormy/dramatic/gray"),
    "temperature": parse_family("hot/warm/boiling, cold/chilly/icy/frozen/freezing"),
    "light": parse_family("dark/dim/black/shadowy, bright/sunny/light/illuminated/lit"),
    "mood": parse_family(
        "happy/smiling/cheerful/joyful/excited/laughing/glad, sad/crying/unhappy/upset, angry/furious, sleepy/tired"
    ),
    "looks": parse_family(
        "beautiful/pretty/lovely/gorgeous/attractive/stunning/handsome/elegant/stylish/cute/adorable, ugly/hideous"
    ),
    "length": parse_family("long/lengthy, short/brief"),
    "height": parse_family("tall/high/towering, low/short"),
    "width": parse_family("wide/broad, narrow/thin"),
    "build": parse_family("thin/slim/skinny/slender, fat/overweight/obese"),
    "thickness": parse_family("thin/fine, thick/dense/heavy"),
    "wetness": parse_family("wet/rainy/damp/soaked, dry/arid"),
    "open": parse_family("open/opened, closed/shut"),
    "full": parse_family("full/crowded/busy/packed, empty/deserted/vacant/abandoned"),
    "clean": parse_family("clean/neat/tidy/spotless, dirty/messy/muddy/dusty"),
    "gender": parse_family("female, male"),
    "sex": parse_family("feminine, masculine"),
    "place": parse_family("outdoor/outside/exterior, indoor/inside/interior"),
    "side": parse_family("left, right"),
    "level": parse_family("upper, lower"),
    "end": parse_family("front, back/rear"),
    "point": parse_family("northern/north, southern/south"),
    "compass": parse_family("eastern/east, western/west"),
    "shape": parse_family("round/circular/oval, square, triangular, rectangular"),
    "speed": parse_family("fast/quick/rapid/speeding, slow"),
    "noise": parse_family("quiet/silent/calm/peaceful/tranquil, noisy/loud"),
    "water": parse_family("calm/still/smooth/quiet/tranquil, rough/stormy/choppy"),
    "wealth": parse_family("rich/wealthy/luxury/luxurious/expensive/fancy, poor/cheap/shabby"),
    "hair": parse_family("curly/wavy, straight"),
    "touch": parse_family("soft/fluffy, hard/stiff"),
    "taste": parse_family("sweet/sugary, bitter/sour, salty/spicy/savory"),
    "ripe": parse_family("fresh/ripe, rotten/stale/spoiled"),
    "cooked": parse_family("cooked/baked/roasted/fried/grilled, raw/uncooked"),
    "worth": parse_family("good/great/excellent/perfect/amazing/awesome/nice/best/wonderful, bad/terrible/awful/worst"),
    "strength": parse_family("strong/powerful/muscular, weak/frail"),
    "life": parse_family("living/alive, dead"),
    "ease": parse_family("easy/simple, difficult/hard/complicated/complex"),
    "early": parse_family("early, late"),
    "order": parse_family("first, second, third, last/final"),
    "colorful": parse_family(
        "colorful/colourful/vibrant/vivid/multicolored, colorless/monochrome/gray/black-and-white"
    ),
    "wild": parse_family("wild/feral, tame/domestic"),
    "town": parse_family("urban, rural/rustic"),
    "public": parse_family("public, private/personal"),
    "military": parse_family("military, civilian"),
    "weight": parse_family("heavy, light/lightweight"),
    "depth": parse_family("deep, shallow"),
    "tone": parse_family("light/pale/pastel, dark/deep"),
    "dress": parse_family("casual/informal, formal"),
    "custom": parse_family("traditional/classic/vintage/retro, modern/futuristic/contemporary"),
    "danger": parse_family("safe, dangerous/risky"),
    "flat": parse_family("flat/level, steep/hilly/mountainous"),
    "home": parse_family("local, foreign"),
    "natural": parse_family("natural, artificial/man-made/fake"),
    "residential": parse_family("residential, industrial/commercial"),
    "married": parse_family("married/wedded, single/unmarried"),
    "alone": parse_family("single, double"),
    "lush": parse_family("lush/leafy, barren/bare"),
    "famous": parse_family("famous/popular/iconic, unknown/unpopular"),
    "special": parse_family("special/unique/unusual, ordinary/common"),
    "funny": parse_family("funny/humorous/fun, serious"),
    "rough": parse_family("smooth, rough/rugged/rocky"),
    "real": parse_family("real/genuine/realistic, fictional/fake/imaginary"),
    "amateur": parse_family("professional, amateur"),
    "total": parse_family("full/whole/entire/complete, partial/half"),
    "abstract": parse_family("abstract, figurative/realistic"),
    "direction": parse_family("horizontal, vertical"),
    "comfort": parse_family("comfortable/cozy, uncomfortable"),
    "access": parse_family("accessible, inaccessible"),
    "space": parse_family("spacious/roomy, cramped"),
    "fit": parse_family("loose/baggy, tight"),
    "courage": parse_family("brave/courageous, cowardly"),
    "now": parse_family("current/present, former/previous, upcoming/future"),
    "likeness": parse_family("similar/identical/matching, different/contrasting"),
    "use": parse_family("useful/helpful, useless"),
    "hollow": parse_family("hollow, solid"),
    "edge": parse_family("sharp, blunt"),
    "impression": parse_family("impressive/incredible/majestic/striking, unimpressive"),
    "network": parse_family("online, offline"),
}
MATERIAL_WORDS = frozenset(word for name in ("material", "fabric") for group in ATTRIBUTES[name] for word in group)
# Nouns that describe the next noun as adjectives do: "a summer dress".
MODIFIERS: dict[str, Family] = {
    "season": parse_family("summer, winter, autumn/fall, spring"),
    "hour": parse_family("morning, evening/night"),
    "feast": parse_family("christmas, easter, halloween"),
    "room": parse_family("kitchen, bathroom, bedroom, office, garden/backyard"),
    "sport": parse_family("football/soccer, basketball, tennis, hockey, baseball, cricket, rugby, golf"),
    "party": parse_family("wedding, birthday, funeral, graduation"),
    "place": parse_family("city, village, desert, island"),
    "flavor": parse_family("chocolate, vanilla, strawberry, lemon"),
    "sound": parse_family("jazz, pop, folk, opera"),
    "drink": parse_family("coffee, tea, beer, wine"),
    "weekday": parse_family("monday, tuesday, wednesday, thursday, friday, saturday, sunday"),
}
# Each is a flower and a plant (WordNet says so for few); they exclude each other.
FLOWERS = split_words(
    "rose tulip sunflower daisy orchid lily dandelion lavender violet iris poppy daffodil narcissus carnation marigold "
    "peony hydrangea chrysanthemum lotus jasmine hibiscus magnolia lilac pansy petunia geranium begonia azalea crocus "
    "hyacinth snowdrop primrose buttercup bluebell foxglove aster dahlia gladiolus snapdragon cornflower zinnia "
    "camellia wisteria honeysuckle anemone freesia gardenia gerbera heather clover thistle mimosa rhododendron fuchsia "
    "frangipani plumeria bougainvillea chamomile poinsettia oleander hollyhock amaryllis lupin lupine edelweiss "
    "forget-me-not"
)
# Everyday things too alike in an image for one to make the other false, even if WordNet separates them.
CONFUSABLE_NOUNS = parse_family(
    "cup/mug/tankard/glass/goblet/chalice/teacup/beaker, hat/cap/beanie/bonnet/headgear, "
    "boat/ship/vessel/yacht/sailboat/ferry/canoe, bus/coach/minibus, "
    "car/automobile/auto/vehicle/sedan/taxi/cab/limousine/van/jeep/suv, chair/seat/armchair/stool/bench/throne, "
    "sofa/couch/loveseat, bottle/flask/jar/vial/jug/pitcher/carafe, umbrella/parasol/sunshade/brolly, "
    "cat/kitten/kitty/feline, dog/puppy/pup/hound/wolf, "
    "house/home/cottage/building/cabin/villa/mansion/hut/residence/bungalow/apartment, "
    "flower/blossom/bloom/petal/bouquet/floral, lily/lotus, mist/haze/fog/smog/smoke/cloud, "
    "mushroom/toadstool/fungus, tree/shrub/bush/palm/pine/oak/forest, rock/stone/boulder/pebble, "
    "bag/purse/handbag/sack/backpack/pouch/satchel, street/road/highway/lane/avenue/alley, "
    "forest/woods/woodland/jungle/wood/rainforest, sea/ocean/coast/beach/shore/seaside/seashore/water/wave, "
    "beach/sand/shore/coast/seaside/seashore, river/stream/creek/water, lake/pond/water/reservoir, "
    "photo/picture/image/photograph/snapshot/pic/shot/portrait/view/photography, "
    "kid/child/boy/girl/baby/toddler/infant/youngster, man/guy/gentleman/male/dude/fellow/father/husband/son/groom, "
    "woman/lady/female/mother/wife/daughter/bride, person/people/human/man/woman/child/individual/boy/girl, "
    "shop/store/market/boutique/supermarket/mall, picture/painting/drawing/illustration/artwork/art/sketch, "
    "movie/film/video/cinema, bike/bicycle/cycle/motorcycle/motorbike, "
    "plane/airplane/aeroplane/aircraft/jet/airliner, truck/lorry/pickup, train/railway/locomotive/tram, "
    "coat/jacket/blazer/parka, shirt/t-shirt/blouse/top/sweater/tee, dress/gown/skirt/robe, "
    "shoe/boot/sneaker/sandal/footwear, pants/trousers/jeans, carpet/rug/mat, cushion/pillow, "
    "path/trail/track/walkway/footpath/road, hill/mountain/peak/mount/slope, "
    "city/town/village/metropolis/downtown/park, meal/food/dinner/lunch/breakfast/dish/cuisine/snack/dessert, "
    "cake/pastry/cupcake/dessert, sunset/sunrise/dusk/dawn/twilight/sun/evening, night/evening/dark, autumn/fall, "
    "phone/telephone/smartphone/cellphone, computer/laptop/notebook/pc, lamp/light/lantern, wall/fence, bird/fowl, "
    "cow/bull/ox/cattle/calf, sheep/lamb/ewe/goat, pig/hog/boar/piglet, hen/chicken/rooster/cock/chick, "
    "duck/goose/swan, rabbit/bunny/hare, mouse/rat, frog/toad, horse/pony/foal, donkey/mule, turtle/tortoise, "
    "alligator/crocodile, monkey/ape/chimpanzee/gorilla, leopard/cheetah/jaguar/panther, butterfly/moth, bee/wasp, "
    "snail/slug, lemon/lime, snow/ice/frost, grass/lawn/meadow/field/pasture, ground/floor/earth/soil/land/dirt, "
    "sky/cloud/air/heaven, player/athlete/footballer/teammate/sportsman, team/club/squad, "
    "game/match/competition/tournament/contest/sport, actor/actress/celebrity/star/artist/performer/model, "
    "singer/musician/vocalist/artist/performer/band, politician/leader/minister/president, "
    "party/celebration/festival/event, ball/sphere/football/basketball/soccer, box/crate/package/carton/parcel, "
    "bowl/dish/plate/basin, knife/blade/dagger, gun/rifle/pistol/weapon, window/glass, door/gate/doorway/entrance, "
    "pot/pan/kettle/vessel, moon/crescent, star/sun, clock/watch/timepiece, key/keyboard, desk/table/counter, "
    "chest/cabinet/drawer, couple/pair, house/barn, cafe/restaurant/bar/pub/diner, hotel/inn/resort, "
    "church/cathedral/chapel/temple, castle/palace/fortress, bride/groom/couple, ring/band/jewelry, "
    "necklace/jewelry/chain, eye/eyes, wool/yarn, picture/poster, cloth/fabric/textile, garden/yard/park/backyard, "
    "book/novel/hardback/paperback, banana/plantain, rocket/spaceship/spacecraft, tile/floor, gravel/pebble, "
    "carpet/floor, table/wood/floor, teacup/tea, star/planet, gold/yellow, day/morning/noon, photo/poster/sign, "
    "map/poster, painting/portrait, student/pupil, teacher/professor, doctor/physician, police/officer/cop, "
    "soldier/army/trooper, rain/fog/wind, hand/finger/arm"
) + tuple(
    (name, *split_words("flower blossom bloom petal bouquet floral plant herb shrub bush weed")) for name in FLOWERS
)
_CLOTHES = split_words("clothes clothing outfit apparel attire garment costume laundry wear")
_WORN = split_words(
    "shirt coat dress sock scarf glove skirt jacket sweater belt bikini hat shoe suit blouse trousers pants jeans gown "
    "robe vest shorts t-shirt tie uniform"
)
CONFUSABLE_NOUNS += tuple((name, *_CLOTHES) for name in _WORN)
_DISHES = split_words("cake pizza sandwich burger salad soup pie cookie pancake sausage egg steak")
CONFUSABLE_NOUNS += tuple((name, "meal", "snack", "dessert") for name in _DISHES)
# Persons: who excludes whom. Roles ("actor") exclude neither men nor women. No person is replaced by an animal: next to
# words of origin or color that would insult.
PERSONS = parse_table(
    "man/guy/male: woman girl, female: man boy, gentleman: lady girl, boy: girl woman, woman: man boy, lady: "
    "gentleman boy, girl: boy man, mother: father grandfather, father: mother grandmother, mom: dad grandfather, dad: "
    "mom grandmother, son: daughter, daughter: son, husband: wife, wife: husband, brother: sister, sister: brother, "
    "king: queen, queen: king, prince: princess, princess: prince, bride: fireman soldier clown, groom: nurse clown "
    "girl, actress: fireman fisherman clown, person/people/human: robot statue snowman puppet scarecrow, "
    "child/kid/baby: adult robot puppet snowman, toddler: adult robot puppet, friend: stranger enemy robot, couple: "
    "robot statue snowman, family: choir orchestra team, crowd: choir army orchestra, fan/model: farmer nurse "
    "soldier, police: nurses farmers dancers"
)
# Verbs without and with an object.
INTRANSITIVE = parse_family(
    "sit/perch, stand/wait/pose/stay, sleep/lie/rest/relax/lay/nap/lounge, kneel/crouch/squat, "
    "walk/stroll/hike/wander/march, run/race/sprint/jog/chase/rush, swim/float/dive/bathe/paddle/surf, "
    "fly/soar/hover, jump/leap/hop, climb, dance, crawl, skate/ski"
)
# Verbs -> verbs of INTRANSITIVE that may be true as well: one can wait on one's feet, sleep in a seat.
COMPATIBLE_VERBS = parse_table(
    "wait/pose/stay/sleep/rest/relax/lounge/nap/bathe/float/paddle/surf/race: sit stand kneel, perch/skate/ski: stand, "
    "stay: sleep"
)
TRANSITIVE = parse_family(
    "throw/drop/toss, eat/bite/taste, wash/clean, cut/slice/chop, paint/draw/decorate/sketch, read/study, "
    "kick/hit/strike, push, pull/drag, buy/purchase/order, sell, hide/cover, burn, break/destroy/smash"
)
# Verbs -> verbs that make the clause false.
OPPOSITE_VERBS = parse_table(
    "hold/carry: drop throw kick, compete/participate: sleep rest, show/display/feature: hide, contain: lack, sing: "
    "sleep eat, cry/weep: laugh smile, eat/dine/graze: sleep sing, feed: sleep, read/study: sleep dance, sit/stand: "
    "sleep run fly swim, arrive: leave depart, come: leave depart, enter: leave exit, open: close shut finish end "
    "stop, win/find/get/keep/bear: lose, buy/purchase: sell, give: take receive, start/begin/launch: finish end "
    "stop, rise: fall drop sink, push: pull, love/like/enjoy/adore: hate dislike, smile/laugh/grin: cry frown, "
    "build/construct/create: destroy demolish, make: destroy demolish break, wear/don: sell remove, play: "
    "watch skip, attend: leave skip miss, ride: push lead wash, watch/feed/greet/control: ignore, celebrate: mourn, "
    "show/display/reveal/feature/share/use/tell: hide, catch/grab/hold: drop throw, live: die, "
    "talk/speak/sing/shout/chat/wake/work: sleep, drive: push wash repair, help: ignore hurt, follow: lead flee, "
    "lead: follow, join/wait/return: leave, visit/approach: leave avoid, float/swim: sink, lie: stand, kiss/hug: "
    "push ignore, gather: scatter, grow: shrink, meet: avoid ignore, hang: fall, perform: sleep rest, pose: sleep "
    "run, promote: criticize, shine: fade, increase: decrease, add/put/set: remove, fill: empty, remember/learn: "
    "forget, accept: reject refuse, attack: defend, defend/protect: attack, borrow: lend, cook: burn, prepare: burn "
    "refuse, drink: spill, fly/land: crash, cross/face/surround/tour: avoid, save: waste, support: oppose, train: "
    "rest, travel/go: stay, cool: heat, melt: freeze, clean/wash: dirty, see: ignore miss, want/try: refuse, need: "
    "reject, take: return, score/reach: miss, bloom: wilt die, relax: work fight, move/turn: stop, walk: stop sit, "
    "bring: remove, include: exclude lack, appear: disappear, eat: drop sell, read: burn write, "
    "write: burn read, rest: work run, have: lack, embrace: ignore push"
)
# Things that may replace each other in a caption, one kind per line.
SUBSTITUTE_GROUPS = tuple(
    split_words(line)
    for line in (
        "dog cat horse cow sheep pig elephant lion tiger bear monkey rabbit giraffe zebra kangaroo fox wolf deer "
        "squirrel panda mouse goat camel",
        "bird owl eagle parrot penguin flamingo duck swan pigeon turtle snake frog crocodile lizard fish shark "
        "whale dolphin",
        "butterfly bee spider snail ant beetle dragonfly ladybug",
        "apple banana orange pear strawberry lemon grape cherry peach pineapple watermelon mango",
        "carrot potato tomato onion cucumber pumpkin cabbage mushroom pepper",
        "cake pizza sandwich burger salad soup pie cookie pancake sausage egg steak",
        "bread cheese rice pasta meat butter chocolate honey sugar salt",
        "coffee tea milk beer wine juice lemonade",
        "car bus truck train boat bicycle airplane helicopter tractor motorcycle rocket balloon",
        "chair table bed sofa desk bench shelf wardrobe mirror lamp",
        "shirt hat coat dress shoe sock scarf glove skirt jacket sweater helmet belt bikini",
        "guitar piano violin drum trumpet flute",
        "football basketball tennis golf hockey baseball rugby cricket volleyball",
        "cup bottle bowl plate spoon fork knife pot basket bucket kettle",
        "ball book phone camera clock umbrella key bag box computer pen candle kite bottle lamp toy hammer",
        "house church castle barn tent lighthouse hotel tower school hospital factory",
        "window door roof stair balcony fence gate chimney",
        "home hospital factory castle",
        "kitchen bathroom bedroom office garage classroom basement library",
        "beach forest desert mountain lake river field island jungle cave valley",
        "city farm village airport park garden",
        "street bridge railway tunnel stairs",
        "grass sand snow mud gravel ice",
        "water sand mud snow",
        "road tunnel railway staircase",
        "aisle staircase corridor",
        "deck roof balcony lawn",
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
        "sea desert forest field",
        "wall ceiling floor roof",
        "sunset noon midnight",
        "music poetry dance",
        "business sport music",
    )
)
# Replacements of a noun that SUBSTITUTE_GROUPS does not list, by its WordNet class.
CLASS_MEMBERS = parse_table(
    "animal: dog horse elephant bear rabbit eagle snake shark, artifact: umbrella ladder piano bucket clock drum "
    "lamp kite, food: pizza cake sandwich soup cheese, plant: cactus fern sunflower mushroom, body: knee elbow "
    "foot ear, person: chef farmer nurse soldier fisherman teacher clown, location: desert airport village harbor "
    "island, object: river mountain desert cave island, event: wedding funeral parade race concert, "
    "communication: letter song map newspaper, group: orchestra army jury choir, substance: wood sand plastic "
    "water, act: race dance fight game, cognition: dream puzzle lesson plan, attribute: smell silence weight, "
    "state: war illness silence, feeling: anger sorrow fear joy, phenomenon: storm rainbow lightning wind, shape: "
    "circle triangle spiral, time: winter midnight evening, possession: gift debt loan"
)
# The same for artifacts, by a WordNet hypernym.
ARTIFACT_MEMBERS = parse_table(
    "building/structure/room/area/establishment: hospital factory garage castle warehouse, way: bridge railway tunnel, "
    "vehicle/vessel: truck tractor boat bicycle, clothing/garment/footwear/headdress: hat scarf coat glove, "
    "furniture: chair bed desk shelf, fabric/covering: blanket curtain towel, weapon: sword rifle bow, "
    "jewelry: ring necklace bracelet"
)
# Unique things and mass nouns, which replace no other thing.
UNIQUE = frozenset(
    split_words("sun moon sky star ground land sea world lightning sunshine wind thunder rain fog silence anger")
)
# Replacements where no verb is known to exclude another.
FALLBACK_TRANSITIVE = split_words("ignore avoid hide")
FALLBACK_INTRANSITIVE = split_words("sleep swim dance")
FALLBACK_INANIMATE = split_words("disappear sleep")
POSTURES = split_words("sit stand lie")
# Participles -> participles that make "covered with snow" false.
OPPOSITE_PARTICIPLES = parse_table(
    "covered: uncovered, filled: emptied, decorated/adorned: undecorated, attached: detached, "
    "built/constructed/created/made/designed: destroyed demolished, painted: unpainted, dressed: undressed, opened: "
    "closed, closed: opened, broken: repaired, lost: found, found: lost, included: excluded, born: killed, used: "
    "hidden, seen/displayed/shown/featured: hidden, lit/illuminated: unlit, known: unknown, written: burned, worn: "
    "removed, held: dropped, frozen: melted, loaded: unloaded, wrapped: unwrapped, tied: untied, folded: unfolded, "
    "locked: unlocked, cooked/baked: uncooked, planted: uprooted, hung: dropped, isolated: hidden, surrounded: "
    "abandoned, taken: lost, served: refused, invited: excluded, bought: sold, sold: bought, "
    "parked: crashed, accompanied: abandoned, loved: hated, allowed: forbidden, published: burned, "
    "drawn: erased, set: hidden, placed: hidden, photographed/captured/pictured: ignored, gathered: scattered, "
    "based: lost, located: hidden, followed: ignored, finished: unfinished, dedicated: "
    "forbidden, connected: disconnected, arranged: scattered, carved: smashed, crowded: deserted, held: cancelled, "
    "played: cancelled"
)
# Verbs never used of a person or animal, even as a counterfactual.
HARMFUL = frozenset(
    split_words("throw drop kick burn destroy break cut eat smash demolish sell buy hit hurt attack abandon")
)
# Verbs that never take an object, and verbs that need one.
INTRANSITIVE_ONLY = frozenset(
    split_words(
        "sit walk sleep rest run stay go die cry frown laugh smile fall sink kneel dance flee crash stand lie wilt "
        "fade shrink scatter disappear work depart stop freeze float"
    )
)
TRANSITIVE_ONLY = frozenset(
    split_words(
        "throw kick ignore avoid destroy demolish carry sell remove push lack reject exclude criticize oppose hurt "
        "wash repair buy lead attack skip miss hate dislike face burn watch"
    )
)
# Verbs that need the word after them: "looks like", "gets ready".
COMPLEMENT_VERBS = frozenset(
    split_words(
        "be look seem feel sound appear become remain get go come keep let make do have say think know want need "
        "try tend use like start begin stop continue help call name lead consist belong depend rely refer set put "
        "turn include contain mean base view see"
    )
)
# Nouns that are never counted, though a caption may say "a water" or "algae".
UNCOUNTABLE = frozenset(
    split_words(
        "equipment software hardware machinery jewelry water milk coffee tea beer wine juice hair grass snow sand ice "
        "rain fog mist sunshine smoke gravel mud bread rice pasta meat butter sugar salt music art traffic furniture "
        "clothing luggage baggage laundry money wood leather plastic paper concrete cotton weather algae"
    )
)
# The same, and nouns that are not counted in the sense that an image shows.
MASS = UNCOUNTABLE | frozenset(
    split_words(
        "land wind food fruit cheese chocolate honey love business gold silver metal glass fashion architecture "
        "photography nature wildlife football basketball tennis golf hockey baseball rugby cricket volleyball soccer "
        "christmas halloween winter summer spring autumn evening morning night dark town downtown air sky sea ocean "
        "sunset sunrise sun moon world earth universe light fire foreground background stage action bed school work "
        "home church ground"
    )
)
# Participles that make one adjective with the thing before them: "a heart shaped cake", "snow covered hills".
COMPOUND_PARTICIPLES = frozenset(
    split_words(
        "covered filled shaped painted lit clad mounted coated lined topped themed inspired colored coloured styled "
        "tiled framed decorated carved powered stained aged paneled panelled woven crafted drawn sized flavored scented"
    )
)
# Plurals that look like verbs but after another noun hardly ever are: "maple leaves", "rain drops".
VERB_LIKE_PLURALS = frozenset(
    split_words(
        "drops leaves poses chips peppers dresses prints designs frames cranes vows trails colours masks garlands"
    )
)
# Plurals that have no singular thing.
PLURAL_ONLY = frozenset(
    split_words(
        "clothes pants jeans glasses shorts trousers scissors goods sports news surroundings sunglasses lots thanks "
        "arts outskirts supplies stairs steps minutes hours days years weeks months ingredients results ones tights "
        "leggings woods scrubs headphones earphones pajamas binoculars pliers overalls"
    )
)
