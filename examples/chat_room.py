"""A chat room: members come, talk and go, and the room notices who has gone, also who has crashed."""

import anyio

from actors import Actor, Ref, Signal, Terminated, message, open_system


@message
class Said:  # told to everybody in the room but the speaker
    name: str
    text: str


@message
class Join:  # whoever joins hears from now on what is said
    member: Ref[Said]


class Room(Actor[Join | Said]):
    def __init__(self) -> None:
        self.members = dict[str, Ref[Said]]()

    def receive(self, message: Join | Said) -> None:
        match message:
            case Join(member):
                self.members[member.name] = member
                self.watch(member)
            case Said(speaker):
                for name, member in self.members.items():
                    if name != speaker:
                        member.tell(message)

    def signal(self, signal: Signal) -> None:
        if isinstance(signal, Terminated):  # however that one ended
            del self.members[signal.ref.name]
            self.receive(Said("room", f"{signal.ref.name} has {'crashed' if signal.reason else 'left'}"))


class Member(Actor[Said]):
    def receive(self, message: Said) -> None:
        print(f"{self.ref.name} hears {message.name}: {message.text}")
        if message.text == "boo!":
            raise ValueError("frightened")


async def main() -> None:
    async with open_system() as system:
        room = system.spawn(Room(), name="room")
        ada, bob, _ = members = [system.spawn(Member(), name=name) for name in ("ada", "bob", "eve")]
        for member in members:
            room.tell(Join(member))
        room.tell(Said("eve", "hello"))
        bob.tell(Said("ada", "boo!"))
        ada.stop()


if __name__ == "__main__":
    anyio.run(main, backend="trio")
