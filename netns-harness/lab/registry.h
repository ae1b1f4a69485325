// The labs of this machine, as directories under /run/mesh-lab, and how they are cleaned up.
//
//   /run/mesh-lab/<id>/owner   who made it: boot, pid, start time; and whether it is kept
//   /run/mesh-lab/<id>/ns/     a private tmpfs of bind-mounted namespaces: net.node-a, mnt.node-a…
//   /run/mesh-lab/<id>/…       nodes/, store/, logs
//
// One path tears a lab down, whoever asks for it (destructor, signal, `mesh-lab down`, the sweep
// after a kill -9): it needs nothing but the directory. Processes are found by the lab's
// namespaces, which the bind mounts keep alive until then, so that their numbers cannot mean
// anything else; never by name. Safe from any thread and beside other labs.
#pragma once

#include <string>
#include <vector>

namespace mesh::lab {

// Makes the directory of a new lab owned by this process, with its ns/ mounted. An empty id is
// replaced by a random one. Returns the id. Throws LabError (also when the id is taken).
std::string create_lab_directory(std::string id);
std::string lab_directory(const std::string& id);
// Marks a lab to be left standing when its owner ends.
void keep_lab(const std::string& id);

// Kills what runs in the lab's namespaces, unmounts, removes. No such lab: nothing to do.
void destroy_lab(const std::string& id);

// Destroys every lab whose owner has ended and that is not kept. Returns their ids.
std::vector<std::string> sweep_labs();

struct LabSummary {
  std::string id;
  bool kept = false;
  bool owner_alive = false;
};
std::vector<LabSummary> list_labs();

// The processes in any namespace of the lab.
std::vector<int> processes_of(const std::string& id);

// SIGINT, SIGTERM and SIGHUP tear down this process's labs, then end it. To be made in main,
// before any other thread.
class SignalGuard {
 public:
  SignalGuard();
};

}  // namespace mesh::lab
