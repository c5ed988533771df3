//! The closed set of things done to the record; each is a metric label and an error's context.

macro_rules! operations {
    ($($name:ident = $text:literal,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation { $($name,)* }

        impl Operation {
            pub const ALL: &[Operation] = &[$(Operation::$name,)*];

            /// Verb and object.
            pub const fn as_str(self) -> &'static str {
                match self { $(Operation::$name => $text,)* }
            }
        }
    };
}

operations! {
    Now = "read clock",
    UserCreate = "create user",
    UserGet = "read user",
    AppCreate = "create app",
    AppGet = "read app",
    AppPlan = "read app of deployment",
    AppSettings = "set app settings",
    EnvironmentCreate = "create environment",
    EnvironmentList = "list environments",
    EnvironmentPolicy = "read environment policy",
    TargetCreate = "create target",
    TargetGet = "read target",
    TargetClaim = "claim targets",
    DeploymentCreate = "create deployment",
    DeploymentGet = "read deployment",
    DeploymentAdvance = "advance deployment",
    DeploymentCancel = "cancel deployment",
    ReleaseCreate = "create release",
    ReleaseGet = "read release",
    DeploymentDescribe = "describe deployment",
    DeploymentFates = "read fates of deployments",
    VariablePut = "set variables",
    VariableDelete = "delete variable",
    VariableList = "list variables",
    CredentialPut = "set credential",
    CredentialFind = "find credential",
    CredentialDelete = "delete credential",
    SealedList = "list sealed values",
    SealedReplace = "replace sealed value",
    BuildWrite = "write build",
    BuildGet = "read build",
    ScanWrite = "write scan",
    ScanList = "list scans",
    AllowancePut = "set scan allowance",
    AllowanceDelete = "delete scan allowance",
    AllowanceList = "list scan allowances",
    ScanPolicyGet = "read scan policy",
    ScanPolicyPut = "set scan policy",
    StepWrite = "write step",
    StepList = "list steps",
    LogAppend = "append log",
    LogLast = "find last log line",
    LogList = "list log",
    EventAppend = "append event",
    EventList = "list events",
    AuditAppend = "append audit entry",
    AuditList = "list audit entries",
    JobInsert = "insert jobs",
    JobRefusal = "explain refused jobs",
    JobClaim = "claim jobs",
    JobUnclaimed = "explain unclaimed jobs",
    JobFinish = "finish jobs",
    JobRequeue = "requeue job",
    JobPark = "park job",
    JobHeld = "check held jobs",
    JobCancel = "cancel job",
    JobGet = "read job",
    JobQueued = "list queued jobs",
    JobNext = "find next jobs of apps",
    JobReap = "take jobs from dead workers",
    JobPlaced = "read placed jobs",
    JobQuarantined = "list quarantined jobs",
    JobRelease = "release quarantined job",
    WorkerRegister = "register worker",
    WorkerBeat = "renew worker",
    WorkerStop = "stop worker",
    WorkerSilent = "list silent workers",
    WorkerBury = "declare worker dead",
    WorkerList = "list workers",
    LeaseTake = "take lease",
    LeaseRelease = "release lease",
    RetainJobs = "delete old jobs",
    RetainDeployments = "delete old deployments",
    RetainLogs = "delete old logs",
    RetainWorkers = "delete old workers",
}
